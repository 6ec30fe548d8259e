"""Keys over HTTP, and what Prometheus scrapes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from semantik_pipeline.api import pages
from tests.integration.api.conftest import Api, problem


def test_a_key_is_shown_once_and_lets_in_until_it_is_revoked(api: Api) -> None:
    made = api.good(api.post("/keys", json={"name": "page", "role": "reader", "expires_in": "90d"}), 201)
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


def paged(api: Api, path: str, entries: str, **params: Any) -> list[Any]:
    """All entries of a list, two to a page."""
    found, cursor = [], None
    while True:
        page = api.good(api.get(path, params={"limit": 2, **params, **({"cursor": cursor} if cursor else {})}))
        assert len(page[entries]) <= 2
        found += page[entries]
        if (cursor := page["next_cursor"]) is None:
            return found


def test_keys_and_the_audit_trail_come_in_pages(api: Api) -> None:
    for number in range(4):
        api.key(f"k{number}", role="reader")
    names = [key["name"] for key in paged(api, "/keys", "keys")]
    assert names == ["admin", "k0", "k1", "k2", "k3", "reader", "writer"]
    told = paged(api, "/audit", "entries", max_age_seconds=3600)
    assert [one["subject"] for one in told] == ["k3", "k2", "k1", "k0", "admin", "writer", "reader"]
    assert len({one["id"] for one in told}) == 7
    time.sleep(0.05)
    assert paged(api, "/audit", "entries", max_age_seconds=0.01) == []
    for path in ("/keys", "/audit"):
        for cursor in ("nonsense", pages.encode("a\0b"), pages.encode(10**400, 1), pages.encode(float("nan"), 1)):
            problem(api.get(path, params={"cursor": cursor}), 422)


def test_a_key_that_makes_no_sense_is_refused(api: Api) -> None:
    problem(api.post("/keys", json={"name": "x", "role": "king"}), 422)
    problem(api.post("/keys", json={"name": "x", "role": "reader", "expires_in": "soon"}), 422)
    problem(api.post("/keys", json={"name": "a\nb", "role": "reader"}), 422)


def test_metrics_are_for_readers_unless_they_are_public(make_api: Callable[..., Api]) -> None:
    api = make_api()
    problem(api.get("/metrics", by=None), 401)
    found = api.get("/metrics", by="reader")
    assert found.status_code == 200 and found.headers["content-type"].startswith("text/plain")
    assert "semantik_plugin_state_revision" in found.text and "semantik_operations" in found.text
    assert make_api(folder="open", api={"public_metrics": True}).get("/metrics", by=None).status_code == 200


def test_requests_are_counted_by_the_template_of_their_route(make_api: Callable[..., Api]) -> None:
    api = make_api()
    api.get("/metrics", by="reader")  # what is foreseen is counted from here on
    for name in ("one", "two"):
        problem(api.get(f"/collections/{name}"), 404)
    problem(api.get("/collections", by=None), 401)
    problem(api.get("/nothing/of/that/kind"), 404)
    for method in ("MADEUP1", "MADEUP2"):
        assert api.ask(method, "/collections").status_code == 405
    text = api.get("/metrics", by="reader").text
    labels = re.findall(r"semantik_http_request_duration_seconds_count\{(.*?)\} (\S+)", text)
    assert ('method="GET",route="/collections/{name}",status="404"', "2.0") in labels
    assert ('method="GET",route="/collections",status="401"', "1.0") in labels
    assert ('method="",route="none",status="404"', "1.0") in labels
    assert ('method="",route="/collections",status="405"', "2.0") in labels
    assert "/collections/one" not in text and "MADEUP" not in text


def test_what_can_be_foreseen_begins_with_nought(make_api: Callable[..., Api]) -> None:
    """Of a count that begins with its first event, Prometheus' increase() sees no event."""
    text = make_api(api={"auth": ["fake-auth"]}).get("/metrics", by="reader").text
    assert 'semantik_auth_plugin_failures_total{plugin="fake-auth"} 0.0' in text
    assert 'semantik_http_requests_denied_total{reason="unauthorized"} 0.0' in text
    assert 'semantik_units_total{outcome="quarantined",stage="upsert"} 0.0' in text
    assert 'semantik_queue_messages_total{outcome="failed",stage="maintenance"} 0.0' in text
    assert 'semantik_quarantines_total{error_type="ChildTimeout",stage="chunk"} 0.0' in text
    assert 'semantik_quarantines_total{error_type="WorkerDied",stage="sync"} 0.0' in text
    assert 'error_type="ServiceUnavailable"' not in text, "no document is ever quarantined for it"
    assert 'semantik_maintenance_failures_total{step="trash"} 0.0' in text
