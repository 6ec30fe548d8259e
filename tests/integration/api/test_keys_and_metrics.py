"""Keys over HTTP, and what Prometheus scrapes."""

from __future__ import annotations

from collections.abc import Callable

from tests.integration.api.conftest import Api, problem


def test_a_key_is_shown_once_and_lets_in_until_it_is_revoked(api: Api) -> None:
    made = api.good(api.post("/keys", json={"name": "page", "role": "reader", "expires": "90d"}), 201)
    api.keys["page"] = made["key"]
    assert made["state"] == "valid" and made["created_by"] == "key:admin" and made["expires_at"] > made["created_at"]
    api.good(api.get("/plugins", by="page"))
    problem(api.get("/keys", by="page"), 403)
    listed = api.get("/keys")
    assert "page" in {one["name"] for one in api.good(listed)["keys"]} and made["key"] not in listed.text
    assert api.good(api.delete("/keys/page"))["state"] == "revoked"
    problem(api.get("/plugins", by="page"), 401)
    problem(api.post("/keys", json={"name": "page", "role": "reader"}), 409)
    problem(api.delete("/keys/nobody"), 404)


def test_a_key_that_makes_no_sense_is_refused(api: Api) -> None:
    problem(api.post("/keys", json={"name": "x", "role": "king"}), 422)
    problem(api.post("/keys", json={"name": "x", "role": "reader", "expires": "soon"}), 422)
    problem(api.post("/keys", json={"name": "a\nb", "role": "reader"}), 422)


def test_metrics_are_for_readers_unless_they_are_public(make_api: Callable[..., Api]) -> None:
    api = make_api()
    problem(api.get("/metrics", by=None), 401)
    found = api.get("/metrics", by="reader")
    assert found.status_code == 200 and found.headers["content-type"].startswith("text/plain")
    assert "semantik_plugin_state_revision" in found.text and "semantik_operations" in found.text
    assert make_api(folder="open", api={"public_metrics": True}).get("/metrics", by=None).status_code == 200
