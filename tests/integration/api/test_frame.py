"""What surrounds every request: who calls, ids, limits, problem documents."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Callable

import pytest

from semantik_pipeline import errors
from semantik_pipeline.api import pages, problems
from semantik_pipeline.api.dependencies import Reader
from semantik_pipeline.api.rates import Rates
from semantik_pipeline.api.routing import guarded
from semantik_pipeline.errors import PipelineError, SettingsError, UsageError
from semantik_pipeline.settings import load_settings
from tests.integration.api.conftest import Api, problem
from tests.integration.conftest import FAKE_COLLECTION

SECRET = "sk-proj-" + "q8Zt" * 10


def test_a_request_without_a_key_is_told_how_to_show_one(api: Api) -> None:
    found = api.get("/fleet", by=None)
    assert "Bearer" in problem(found, 401)["hint"]
    assert found.headers["www-authenticate"] == "Bearer"
    api.keys["wrong"] = "sk_nobody"
    assert problem(api.get("/fleet", by="wrong"), 401)["type"].endswith(":Unauthorized")


def test_a_key_may_stand_in_either_header(api: Api) -> None:
    assert api.good(api.get("/fleet", by=None, headers={"X-API-Key": api.keys["reader"]}))["distributed"] is False


def test_who_may_not_is_told_before_the_body_is_looked_at(api: Api) -> None:
    said = problem(api.post("/fleet/drain", by="writer", content=b"{no json"), 403)
    assert "admin" in said["detail"]
    assert problem(api.post("/fleet/drain", content=b"{no json", headers={"Content-Type": "application/json"}), 422)


def test_an_invalid_request_is_told_where_without_what_was_sent(api: Api) -> None:
    found = api.post("/fleet/drain", json={"workers": "gpu", SECRET: 1, "more": SECRET})
    body = problem(found, 422)
    assert {one["field"] for one in body["errors"]} >= {"body.workers", "body.more"}
    assert SECRET not in found.text.replace(f"body.{SECRET}", "")


def test_what_is_not_there_is_a_problem_document_too(api: Api) -> None:
    assert "/api/v2/nothing" in problem(api.get("/nothing"), 404)["detail"]
    assert problem(api.delete("/fleet"), 405)


def test_a_request_keeps_the_id_that_its_caller_gave_it(api: Api) -> None:
    assert api.get("/health/live", headers={"X-Request-Id": "mine-1"}).headers["x-request-id"] == "mine-1"
    forged = api.get("/health/live", headers={"X-Request-Id": "a b\tc"}).headers["x-request-id"]
    assert forged != "a b\tc" and len(forged) == 16


def test_what_nobody_foresaw_is_logged_under_the_requests_id_and_not_told(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(runtime: object) -> dict[str, object]:
        raise RuntimeError(f"the password is {SECRET}")

    monkeypatch.setattr("semantik_pipeline.fleet.view", broken)
    with caplog.at_level(logging.ERROR):
        found = api.get("/fleet")
    said = problem(found, 500)
    assert "password" not in found.text and said["detail"] == problems.INSIDE
    assert "RuntimeError" in caplog.text


def test_an_error_of_ours_that_is_a_fault_inside_is_not_told_either(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(runtime: object) -> dict[str, object]:
        raise PipelineError("The ledger /srv/secret/place refused a statement.")

    monkeypatch.setattr("semantik_pipeline.fleet.view", broken)
    found = api.get("/fleet")
    assert problem(found, 500) and "/srv" not in found.text
    assert "/srv/secret/place" in caplog.text


def test_every_error_has_a_status() -> None:
    tree = [one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, PipelineError)]
    assert len(tree) > 25
    assert {problems.status_of(kind("x")) for kind in tree} == {401, 403, 404, 409, 412, 422, 500, 503, 507}


def test_a_service_that_is_away_says_when_to_come_back(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(runtime: object) -> dict[str, object]:
        raise errors.ServiceUnavailable(f"The store does not answer {SECRET}.", retry_after=17.0)

    monkeypatch.setattr("semantik_pipeline.fleet.view", away)
    found = api.get("/fleet")
    assert SECRET not in found.text and "store" in problem(found, 503)["detail"]
    assert found.headers["retry-after"] == "17"


def test_nobody_is_told_to_come_back_at_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(runtime: object) -> dict[str, object]:
        raise errors.ServiceUnavailable("The store does not answer.", retry_after=0.3)

    monkeypatch.setattr("semantik_pipeline.fleet.view", away)
    assert api.get("/fleet").headers["retry-after"] == "1"


def test_a_body_that_is_too_large_is_refused_however_it_comes(make_api: Callable[..., Api]) -> None:
    api = make_api(api={"max_body_mb": 1})
    large = json.dumps({"workers": ["x" * 1_100_000]}).encode()
    assert "1 MB" in problem(api.post("/fleet/drain", content=large), 413)["detail"]
    pieces = (large[at : at + 65_536] for at in range(0, len(large), 65_536))  # chunked: no length is said
    problem(api.post("/fleet/drain", content=pieces, headers={"Content-Type": "application/json"}), 413)


def test_what_a_body_calls_itself_does_not_make_its_limit(make_api: Callable[..., Api]) -> None:
    api = make_api(api={"max_body_mb": 1, "max_upload_mb": 3})
    large = b"x" * 1_100_000
    named = {"Content-Type": "multipart/form-data; boundary=b"}
    assert "1 MB" in problem(api.post("/fleet/drain", content=large, headers=named), 413)["detail"]
    pieces = (large[at : at + 65_536] for at in range(0, len(large), 65_536))
    problem(api.post("/fleet/drain", content=pieces, headers=named), 413)
    api.runtime.collection("default", FAKE_COLLECTION)
    api.good(api.post("/documents/files", files={"files": ("a.txt", large, "text/plain")}), 202)
    found = api.post("/documents/files", files={"files": ("a.txt", 3 * large, "text/plain")})
    assert "3 MB" in problem(found, 413)["detail"]


def test_a_caller_who_asks_too_often_waits_and_others_do_not(make_api: Callable[..., Api]) -> None:
    api = make_api(api={"rate": "3/day"})
    assert [api.get("/fleet", by="reader").status_code for _ in range(4)] == [200, 200, 200, 429]
    found = api.get("/fleet", by="reader")
    assert problem(found, 429) and 1 <= int(found.headers["retry-after"]) <= 86_400
    assert api.get("/fleet", by="admin").status_code == 200


def test_an_address_that_tries_keys_is_made_to_wait_but_locks_out_no_key(make_api: Callable[..., Api]) -> None:
    api = make_api(api={"unauthenticated_rate": "2/day"})
    api.keys["wrong"] = "sk_nobody"
    assert [api.get("/fleet", by="wrong").status_code for _ in range(3)] == [401, 401, 429]
    assert api.get("/fleet", by="admin").status_code == 200


def test_what_an_auth_plugin_could_be_asked_too_often_is_not_answered(make_api: Callable[..., Api]) -> None:
    api = make_api(api={"unauthenticated_rate": "2/day", "auth": ["fake-auth"]})
    good = {"X-User": "anna"}
    assert api.get("/fleet", by=None, headers=good).status_code in (200, 403)
    assert [api.get("/fleet", by=None).status_code for _ in range(2)] == [401, 401]
    problem(api.get("/fleet", by=None, headers=good), 429)  # a guess that is right must not show


def test_no_page_of_another_origin_may_call_unless_it_is_named(make_api: Callable[..., Api]) -> None:
    asked = {"Origin": "https://search.example", "Access-Control-Request-Method": "GET"}
    plain = make_api().ask("OPTIONS", "/fleet", by=None, headers=asked)
    assert plain.status_code == 405 and "access-control-allow-origin" not in plain.headers
    named = make_api(folder="other", api={"cors_origins": ["https://search.example"]})
    preflight = named.ask("OPTIONS", "/fleet", by=None, headers=asked)
    assert preflight.headers["access-control-allow-origin"] == "https://search.example"
    other = named.get("/fleet", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers


def test_a_rate_that_is_none_is_said_at_the_start() -> None:
    with pytest.raises(SettingsError, match=r"api\.rate"):
        Rates(load_settings(api={"rate": "often"}).api)


def test_a_route_that_does_not_say_who_may_call_it_can_not_be_made() -> None:
    router = guarded("test")

    def open_to_all() -> None: ...

    def closed(caller: Reader) -> None: ...

    router.get("/closed")(closed)
    with pytest.raises(TypeError, match="/open"):
        router.get("/open")(open_to_all)


@pytest.mark.parametrize(
    "cursor", ["", "é", "x", "W10", "!!!", pages.encode(1), pages.encode(1, "b"), pages.encode("a", 2**70)]
)
def test_a_cursor_that_is_none_is_refused(cursor: str) -> None:
    with pytest.raises(UsageError):
        pages.decode(cursor, str, int)


def test_a_cursor_comes_back_as_it_was() -> None:
    assert pages.decode(pages.encode("ä/?", 7), str, int) == ("ä/?", 7)
    assert pages.cut([1, 2, 3], 2, lambda entry: (entry,)) == ([1, 2], pages.encode(2))
    assert pages.cut([1, 2], 2, lambda entry: (entry,)) == ([1, 2], None)


def test_the_api_is_ready_where_its_parts_are(api: Api) -> None:
    assert api.good(api.get("/health/live", by=None)) == {"status": "alive"}
    assert api.good(api.get("/health/ready", by=None))["checks"] == {"ledger": "ok", "plugins": "ok", "store": "ok"}


def test_the_api_is_not_ready_without_its_ledger(make_api: Callable[..., Api]) -> None:
    api = make_api()
    api.runtime.ledger.engine.dispose()
    (api.runtime.settings.data_dir / "ledger.sqlite3").write_bytes(b"no database at all, but some text" * 100)
    for more in ("-wal", "-shm"):
        (api.runtime.settings.data_dir / f"ledger.sqlite3{more}").unlink(missing_ok=True)
    found = api.get("/health/ready", by=None)
    assert found.status_code == 503 and found.json()["checks"]["ledger"] != "ok"
    assert "sqlite" not in found.text
