"""A password that was changed at the server: its source is paused, says so, and goes on with the new one."""

from __future__ import annotations

from email.message import EmailMessage
from typing import Any

import pytest
from sqlalchemy import update

from semantik_pipeline import sources
from semantik_pipeline.ledger.ingestion import sources as ledger
from semantik_pipeline.ledger.tables import sources as table
from semantik_pipeline.schedules import Schedule
from semantik_pipeline.sources import NewSource
from semantik_pipeline.testing.imap_server import PASSWORD, ImapServer
from tests.integration.conftest import FAKE_COLLECTION

LEDGERS = ("sqlite", "postgres")

ROTATED = "shut sesame"


def mail(subject: str, text: str) -> EmailMessage:
    message = EmailMessage()
    message["Subject"], message["From"] = subject, "ann@mail.test"
    message.set_content(text)
    return message


def shown(pipeline) -> dict[str, Any]:
    with pipeline.runtime.ledger.read() as tx:
        return ledger.find_source(tx, "mail")


def synced_when_due(pipeline) -> dict[str, Any] | None:
    """The result of the sync that the schedule begins now; None if it begins none."""
    with pipeline.runtime.ledger.write() as tx:
        tx.execute(update(table).values(due_at=0.0))
    begun = sources.begin_due(pipeline.runtime)
    pipeline.run()
    return pipeline.result(begun[0]) if begun else None


def asked(server: ImapServer, word: str) -> int:
    return len([line for line in server.commands if word in line])


def test_a_source_goes_on_with_its_new_password(make_pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_MAIL_PASSWORD", PASSWORD)
    with ImapServer() as server:
        server.put(mail("Lunch", "Soup on Monday."), mail("Dinner", "Fish on Friday."))
        pipeline = make_pipeline()
        pipeline.runtime.collection("default", FAKE_COLLECTION)
        config = {**server.config, "password_env": "TEST_MAIL_PASSWORD"}
        del config["password"]
        new = NewSource(connector="imap", name="mail", config=config, schedule=Schedule(every=900.0))
        source = sources.add(pipeline.runtime, new, collection="default")
        first = synced_when_due(pipeline)
        assert first and (first["outcome"], first["documents"]["new"]) == ("succeeded", 2)

        server.change_password(ROTATED)
        server.put(mail("Report", "Turbines are loud."))
        server.commands.clear()
        refused = synced_when_due(pipeline)
        assert refused and refused["outcome"] == "failed"
        paused = shown(pipeline)
        assert (paused["state"], paused["documents"], paused["last_error"]["type"]) == (
            "paused",
            2,
            "CredentialsRejected",
        )
        assert "password_env" in paused["paused_reason"] and PASSWORD not in str(paused)
        assert synced_when_due(pipeline) is None, "a paused source is not due"
        assert asked(server, "LOGIN") == 1, "trying again would lock the account"
        pipeline.runtime.close()

        monkeypatch.setenv("TEST_MAIL_PASSWORD", ROTATED)  # and the process that reads it started anew
        server.commands.clear()
        pipeline = make_pipeline()
        assert sources.resume(pipeline.runtime, paused) is None
        last = synced_when_due(pipeline)
    assert last and last["outcome"] == "succeeded"
    told = {name: last["documents"][name] for name in ("seen", "new", "changed", "deleted")}
    assert told == {"seen": 1, "new": 1, "changed": 0, "deleted": 0}, "its cursor is where it was"
    assert (asked(server, "BODY.PEEK"), last["chunks"]["embedded"]) == (1, 1), "of the message that came meanwhile"
    after = shown(pipeline)
    assert (after["id"], after["state"], after["documents"]) == (source["id"], "idle", 3)
    assert (after["paused_reason"], after["last_error"], after["consecutive_failures"]) == (None, None, 0)
