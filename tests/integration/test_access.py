"""API keys: who is let in, as what, and what is told of it; on both ledgers."""

from __future__ import annotations

import logging
import stat
import time
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select, update

from semantik_pipeline import access, collections, operations, sources, trash
from semantik_pipeline.contracts import AuthRequest, Principal
from semantik_pipeline.errors import Conflict, Unauthorized, UsageError
from semantik_pipeline.ledger.access import audit_trail
from semantik_pipeline.ledger.database.connection import now
from semantik_pipeline.ledger.tables import api_keys
from semantik_pipeline.sources import NewSource
from tests.integration.conftest import FAKE_COLLECTION

LEDGERS = ("sqlite", "postgres")


def request(**headers: str) -> AuthRequest:
    return AuthRequest("GET", "/api/v2/collections", {name.replace("_", "-"): value for name, value in headers.items()})


def bearer(key: str) -> AuthRequest:
    return request(Authorization=f"Bearer {key}")


def rows(pipeline) -> list[dict[str, Any]]:
    with pipeline.runtime.ledger.read() as tx:
        return [dict(row) for row in tx.execute(select(api_keys)).mappings()]


def change_row(pipeline, **values: Any) -> None:
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(update(api_keys).values(**values))


def refused(pipeline, asked: AuthRequest) -> Unauthorized:
    with pytest.raises(Unauthorized) as caught:
        access.authenticate(pipeline.runtime, asked)
    return caught.value


def told(pipeline) -> list[tuple[str, str, str]]:
    with pipeline.runtime.ledger.read() as tx:
        return [(one["actor"], one["event"], one["subject"]) for one in audit_trail.entries(tx, limit=20)]


def impatient(pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a key be believed for no time at all."""
    monkeypatch.setattr(access, "KNOWN_SECONDS", 0.0)


# -- keys -------------------------------------------------------------------------------------------------------------


def test_a_key_is_shown_once_and_lets_its_holder_in(make_pipeline):
    pipeline = make_pipeline()
    made = access.create_key(pipeline.runtime, "ci", role="writer", collections=["b", "a"], principals=["anna"])
    assert made.key.startswith("sk_") and len(made.key) > 40
    found = access.authenticate(pipeline.runtime, bearer(made.key))
    assert found == Principal("key:ci", "writer", {"a", "b"}, {"anna"})
    assert access.authenticate(pipeline.runtime, request(X_API_Key=made.key)) == found
    assert access.authenticate(pipeline.runtime, request(authorization=f"bearer  {made.key} ")) == found
    stored = str(rows(pipeline)) + str(access.list_keys(pipeline.runtime)) + str(told(pipeline))
    assert made.key not in stored and made.key.removeprefix("sk_") not in stored
    assert "hash" not in access.list_keys(pipeline.runtime)[0]


def test_a_key_opens_the_collection_that_it_was_made_for_whatever_that_is_called(make_pipeline, monkeypatch):
    pipeline = make_pipeline(collection=FAKE_COLLECTION)
    runtime = pipeline.runtime
    impatient(pipeline, monkeypatch)
    collections.create(runtime, "papers")
    key = access.create_key(runtime, "ci", role="reader", collections=["papers"]).key

    def opened() -> set[str]:
        return set(access.authenticate(runtime, bearer(key)).collections or ())

    assert opened() == {"papers"}
    collections.rename(runtime, "papers", "archive")
    assert opened() == {"archive"}
    collections.create(runtime, "papers")
    assert opened() == {"archive"}
    assert access.list_keys(runtime)[0]["collections"] == ["archive"]


def test_a_key_does_not_open_what_takes_the_place_of_its_collection(make_pipeline, monkeypatch):
    pipeline = make_pipeline(collection=FAKE_COLLECTION)  # without a trash
    runtime = pipeline.runtime
    impatient(pipeline, monkeypatch)
    collections.create(runtime, "papers")
    key = access.create_key(runtime, "ci", role="reader", collections=["papers"]).key
    trash.delete_collection(runtime, "papers", purge=True)
    while trash.advance(runtime):
        pass
    collections.create(runtime, "papers")  # with the id of the one before, on SQLite
    assert access.authenticate(runtime, bearer(key)).collections == frozenset()


def test_a_key_for_a_collection_that_is_yet_to_be_made_is_for_that_one(make_pipeline, monkeypatch):
    pipeline = make_pipeline(collection=FAKE_COLLECTION)
    runtime = pipeline.runtime
    impatient(pipeline, monkeypatch)
    key = access.create_key(runtime, "ci", role="writer", collections=["papers"]).key
    assert access.authenticate(runtime, bearer(key)).may("writer", "papers")
    collections.create(runtime, "papers")
    collections.rename(runtime, "papers", "archive")
    collections.create(runtime, "papers")
    assert access.authenticate(runtime, bearer(key)).collections == {"archive"}


def test_a_key_from_before_keys_were_for_ids_goes_with_its_collection(make_pipeline, monkeypatch):
    pipeline = make_pipeline(collection=FAKE_COLLECTION)
    runtime = pipeline.runtime
    impatient(pipeline, monkeypatch)
    collections.create(runtime, "papers")
    key = access.create_key(runtime, "ci", role="reader", collections=["papers"]).key
    change_row(pipeline, collections=["papers"])  # as it was written then
    assert access.authenticate(runtime, bearer(key)).collections == {"papers"}
    collections.rename(runtime, "papers", "archive")
    collections.create(runtime, "papers")
    assert access.authenticate(runtime, bearer(key)).collections == {"archive"}


def test_two_keys_differ_and_a_name_is_given_once(make_pipeline):
    runtime = make_pipeline().runtime
    one = access.create_key(runtime, "one", role="reader")
    assert one.key != access.create_key(runtime, "two", role="reader").key
    access.revoke_key(runtime, "one")
    for name in ("one", "two"):
        with pytest.raises(Conflict, match=name):
            access.create_key(runtime, name, role="reader")


def test_keys_that_make_no_sense_are_refused(make_pipeline):
    pipeline = make_pipeline()
    for name in ("", "local", "a\nb"):
        with pytest.raises(UsageError):
            access.create_key(pipeline.runtime, name, role="reader")
    wrong: tuple[dict[str, Any], ...] = ({"role": "boss"}, {"seconds": 0}, {"principals": "anna"}, {"principals": [""]})
    for values in wrong:
        with pytest.raises(UsageError):
            access.create_key(pipeline.runtime, "x", **{"role": "reader", **values})
    assert rows(pipeline) == []


def test_strangers_are_turned_away_and_told_why(make_pipeline, caplog):
    pipeline = make_pipeline()
    with caplog.at_level(logging.WARNING, "semantik.access"):
        for _ in range(3):
            assert "has no API key" in str(refused(pipeline, request()))
        assert "unknown" in str(refused(pipeline, bearer("sk_guessed")))
        assert "is not an API key" in str(refused(pipeline, request(Authorization="Basic c2tfeA==")))
    assert sum(pipeline.runtime.tally.counts("http_requests_denied").values()) == 5
    assert len(caplog.records) == 1, "of many alike, one line"
    assert "sk_guessed" not in caplog.text


def test_a_key_that_is_over_lets_nobody_in(make_pipeline, monkeypatch):
    pipeline = make_pipeline()
    impatient(pipeline, monkeypatch)
    made = access.create_key(pipeline.runtime, "ci", role="reader", seconds=3600)
    access.authenticate(pipeline.runtime, bearer(made.key))
    change_row(pipeline, expires_at=now() - 1)
    assert "has expired" in str(refused(pipeline, bearer(made.key)))
    assert access.list_keys(pipeline.runtime)[0]["state"] == "expired"


def test_a_revoked_key_stops_here_at_once_and_elsewhere_within_seconds(make_pipeline, monkeypatch):
    monkeypatch.setattr(access, "KNOWN_SECONDS", 0.3)
    here, elsewhere = make_pipeline(), make_pipeline()
    key = access.create_key(here.runtime, "ci", role="reader").key
    for pipeline in (here, elsewhere):
        access.authenticate(pipeline.runtime, bearer(key))
    assert access.revoke_key(here.runtime, "ci")["state"] == "revoked"
    assert "was revoked" in str(refused(here, bearer(key)))
    until = time.monotonic() + 5
    with pytest.raises(Unauthorized):
        while time.monotonic() < until:
            access.authenticate(elsewhere.runtime, bearer(key))
            time.sleep(0.05)
    with pytest.raises(UsageError, match="nobody"):
        access.revoke_key(here.runtime, "nobody")


def test_a_key_is_not_believed_beyond_its_end(make_pipeline, monkeypatch):
    monkeypatch.setattr(access, "KNOWN_SECONDS", 60.0)
    pipeline = make_pipeline()
    key = access.create_key(pipeline.runtime, "ci", role="reader", seconds=30).key
    access.authenticate(pipeline.runtime, bearer(key))
    change_row(pipeline, expires_at=now() - 1)
    access.authenticate(pipeline.runtime, bearer(key))  # it is believed without a look
    later = time.monotonic() + 31
    monkeypatch.setattr(access, "time", SimpleNamespace(monotonic=lambda: later))
    assert "has expired" in str(refused(pipeline, bearer(key)))


def test_many_calls_ask_the_ledger_once_and_write_once_a_minute(make_pipeline, monkeypatch):
    pipeline = make_pipeline()
    key = access.create_key(pipeline.runtime, "ci", role="reader").key
    asked: list[str] = []
    for name in ("read", "write"):
        opens = getattr(pipeline.runtime.ledger, name)
        monkeypatch.setattr(pipeline.runtime.ledger, name, lambda opens=opens, name=name: asked.append(name) or opens())
    for _ in range(50):
        access.authenticate(pipeline.runtime, bearer(key))
    assert asked == ["read", "write"]
    first = rows(pipeline)[0]["used_at"]
    pipeline.runtime.keyring.forget()
    access.authenticate(pipeline.runtime, bearer(key))
    assert rows(pipeline)[0]["used_at"] == first
    change_row(pipeline, used_at=first - 120)
    pipeline.runtime.keyring.forget()
    access.authenticate(pipeline.runtime, bearer(key))
    assert rows(pipeline)[0]["used_at"] >= first


def test_the_first_key_is_the_owners_alone_and_made_anew_only_where_it_opens_nothing(make_pipeline):
    pipeline = make_pipeline()
    path = access.first_key(pipeline.runtime)
    key = path.read_text().strip()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert access.authenticate(pipeline.runtime, bearer(key)) == Principal("key:local", "admin")
    assert access.first_key(pipeline.runtime) == path and path.read_text().strip() == key
    access.revoke_key(pipeline.runtime, "local")
    fresh = access.first_key(pipeline.runtime).read_text().strip()
    assert fresh != key
    refused(pipeline, bearer(key))
    access.authenticate(pipeline.runtime, bearer(fresh))
    path.unlink()
    access.authenticate(pipeline.runtime, bearer(access.first_key(pipeline.runtime).read_text().strip()))
    refused(pipeline, bearer(fresh))


# -- who did what -----------------------------------------------------------------------------------------------------


def test_changes_are_told_of_whom_they_are_made_for(make_pipeline):
    pipeline = make_pipeline()
    runtime = pipeline.runtime
    runtime.collection("default", FAKE_COLLECTION)
    new = NewSource(connector="fake-connector", name="fake", config={"documents": {"a": "alpha"}})
    with access.acting_as(Principal("key:ci", "writer")):
        source = sources.add(runtime, new, collection="default")
        with access.acting_as(Principal("key:other", "writer")):
            sources.pause(runtime, source, "for now")
        access.create_key(runtime, "made", role="reader")
    sources.resume(runtime, source)
    by = {event: actor for actor, event, _ in told(pipeline)}
    assert by["source.add"] == by["key.create"] == "key:ci"
    assert by["source.pause"] == "key:other"
    assert by["source.resume"] == audit_trail.person() != "key:ci"
    assert rows(pipeline)[0]["created_by"] == "key:ci"


def test_what_callers_begin_is_told(make_pipeline):
    pipeline = make_pipeline()
    with access.acting_as(Principal("key:ci", "writer")):
        pipeline.index(operations.SourceRequest(connector="fake-connector", name="f", config={"documents": {"a": "x"}}))
        documents = operations.list_documents(pipeline.runtime, collection="default", status=None)
        operations.begin_retry(pipeline.runtime, documents)
        operations.begin_drop(pipeline.runtime, documents)
    events = {event for actor, event, _ in told(pipeline) if actor == "key:ci"}
    assert {"source.sync", "document.retry", "document.delete"} <= events
