"""The connector `imap` against a real server on loopback: what it names, what it reads, what it notices."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from semantik_pipeline.builtin.connectors import imap, imap_documents
from semantik_pipeline.builtin.connectors.imap import ImapConnector
from semantik_pipeline.builtin.connectors.imap_cursor import Progress, numbers, ranges
from semantik_pipeline.builtin.connectors.imap_mailbox import MessageRefused
from semantik_pipeline.builtin.connectors.imap_names import MailName, account_name
from semantik_pipeline.builtin.connectors.imap_outline import outline_of
from semantik_pipeline.documents import Checkpoint, Complete, DocumentReference, IngestedDocument, Removal
from semantik_pipeline.errors import (
    CredentialsRejected,
    DocumentGone,
    DocumentUnreadable,
    PermanentError,
    PluginConfigError,
    ServiceUnavailable,
    SkipDocument,
)
from semantik_pipeline.testing.connectors import Event, enumerated, fetched, references
from semantik_pipeline.testing.imap_server import ImapServer


@pytest.fixture
def server() -> Iterator[ImapServer]:
    with ImapServer() as one:
        yield one


def mail(subject: str, text: str = "some text", **attachments: bytes) -> EmailMessage:
    """A message with attachments named ``NAME.bin``."""
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = subject, "Ann <ann@mail.test>", "bob@mail.test"
    message["Date"], message["Message-ID"] = "Fri, 02 Jan 2026 03:04:05 +0100", f"<{abs(hash(subject))}@mail.test>"
    message.set_content(text)
    for name, content in attachments.items():
        message.add_attachment(content, maintype="application", subtype="pdf", filename=f"{name}.pdf")
    return message


def connector(server: ImapServer, **options: object) -> ImapConnector:
    return ImapConnector({**server.config, "timeout": 10, **options})


def named(events: list[Event]) -> list[str]:
    """The ends of the names: ``INBOX;UID=101#2``."""
    return [one.unique_id.partition("127.0.0.1")[2].partition("/")[2] for one in references(events)]


def gone(events: list[Event]) -> list[str]:
    return [one.unique_id.partition("127.0.0.1")[2].partition("/")[2] for one in events if isinstance(one, Removal)]


def complete(events: list[Event]) -> Complete:
    assert isinstance(events[-1], Complete)
    return events[-1]


def asked(server: ImapServer, word: str) -> list[str]:
    return [line for line in server.commands if word in line]


# -- what a message is ------------------------------------------------------------------------------------------------


def test_a_message_is_its_text_and_an_attachment_a_document_of_its_own(server: ImapServer) -> None:
    message = mail("Grüße aus Köln", "Hällo", report=b"%PDF-1.4 report")
    message["Cc"] = "Jörg Müller <joerg@mail.test>, eve@mail.test"
    server.put(message, flags=("\\Flagged", "\\Seen"))
    plugin = connector(server)
    events = enumerated(plugin)
    assert named(events) == ["INBOX;UID=101", "INBOX;UID=101#2"]
    text, report = (fetched(plugin, one) for one in references(events))
    assert (text.content, text.media_type) == ("Hällo", "text/plain")
    assert text.metadata == {
        "title": "Grüße aus Köln",
        "from": "Ann <ann@mail.test>",
        "to": ["bob@mail.test"],
        "cc": ["Jörg Müller <joerg@mail.test>", "eve@mail.test"],
        "date": "2026-01-02T03:04:05+01:00",
        "message_id": message["Message-ID"],
        "folder": "INBOX",
        "flags": ["flagged", "seen"],
    }
    assert (report.content, report.media_type, report.file_path) == (
        b"%PDF-1.4 report",
        "application/pdf",
        "report.pdf",
    )
    assert report.metadata["message"] == text.unique_id
    assert report.metadata["subject"] == "Grüße aus Köln"


def test_reading_leaves_the_messages_unread(server: ImapServer) -> None:
    server.put(mail("a"))
    plugin = connector(server)
    fetched(plugin, references(enumerated(plugin))[0])
    with server.as_owner() as client:
        assert b"\\Seen" not in client.get_flags([101])[101]


def read_one(server: ImapServer, message: EmailMessage | bytes, **options: object) -> list[IngestedDocument]:
    server.put(message)
    plugin = connector(server, **options)
    return [fetched(plugin, one) for one in references(enumerated(plugin))]


def test_of_alternatives_the_plain_text_is_taken_and_pictures_of_the_layout_are_left(server: ImapServer) -> None:
    message = mail("a", "plain")
    message.add_alternative("<p>rich <img src='cid:logo'></p>", subtype="html")
    message.get_payload()[1].add_related(b"\x89PNG", maintype="image", subtype="png", cid="<logo>")
    found = read_one(server, message)
    assert [(one.content, one.media_type) for one in found] == [("plain", "text/plain")]


def test_html_alone_stays_html(server: ImapServer) -> None:
    message = EmailMessage()
    message["Subject"] = "a"
    message.set_content("<p>Größe</p>", subtype="html", charset="iso-8859-1")
    (found,) = read_one(server, message)
    assert (found.content, found.media_type) == ("<p>Größe</p>", "text/html")


def test_a_forwarded_message_is_an_attachment(server: ImapServer) -> None:
    message = mail("outer", "see below")
    message.add_attachment(mail("inner", "the inner text"))
    text, inner = read_one(server, message)
    assert text.content == "see below"
    assert (inner.media_type, inner.file_path) == ("message/rfc822", "message.eml")
    assert b"the inner text" in inner.body


def test_a_message_of_a_subject_alone_is_its_subject_and_one_of_nothing_is_skipped(server: ImapServer) -> None:
    (found,) = read_one(server, mail("only this", ""))
    assert found.content == "only this"
    server.put(b"From: a@b.c\r\n\r\n\r\n")
    plugin = connector(server)
    with pytest.raises(SkipDocument, match="neither text nor subject"):
        fetched(plugin, references(enumerated(plugin))[1])


BROKEN = [
    b"Subject: =?utf-8?q?broken\r\n\r\ntext",
    b"Subject: \xff\xfe raw bytes\r\nContent-Type: text/plain; charset=klingon\r\n\r\ntext",
    b"Subject: x\r\nContent-Transfer-Encoding: base64\r\n\r\n!!not base64!!",
    b"Subject: x\r\nDate: yesterday\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nno end",
    b"no header at all",
]


@pytest.mark.parametrize("raw", BROKEN)
def test_broken_messages_harm_themselves_at_most(server: ImapServer, raw: bytes) -> None:
    server.put(raw, mail("good"))
    plugin = connector(server)
    first, *_, last = references(enumerated(plugin))
    with suppress(SkipDocument):
        fetched(plugin, first).check()
    assert fetched(plugin, last).content == "some text"


@pytest.mark.parametrize(
    "header",
    [
        "Content-Type: text/plain; charset=undefined",
        "Content-Type: text/plain; charset=idna",
        "Date: Fri, 02 Jan 99999 03:04:05 +0100",
        "Date: Fri, 02 Jan 2026 03:04:05 +99999999999999",
        "From: =?undefined?q?A?= <a@mail.test>",
    ],
)
def test_a_message_that_was_read_ahead_harms_neither_the_one_before_nor_itself(server: ImapServer, header: str) -> None:
    server.put(mail("good"), f"Subject: bad\r\n{header}\r\n\r\nthe bad text".encode(), mail("last"))
    plugin = connector(server)
    contents = [fetched(plugin, one).check().content for one in references(enumerated(plugin))]
    assert contents == ["some text", "the bad text", "some text"]
    assert len(asked(server, "BODY.PEEK")) == 1, "all were fetched together"


def test_a_message_that_cannot_be_read_at_all_says_so_when_it_is_asked_for(
    server: ImapServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def described(header: bytes, received: object) -> dict:
        if b"bad" in header:
            raise IndexError("whatever the standard library stumbles over")
        return {"title": "fine"}

    monkeypatch.setattr(imap_documents, "described", described)
    server.put(mail("good"), mail("bad"))
    plugin = connector(server)
    good, bad = references(enumerated(plugin))
    assert fetched(plugin, good).content == "some text"
    with pytest.raises(IndexError):
        fetched(plugin, bad)


def test_a_message_that_the_server_does_not_give_harms_itself_alone(server: ImapServer) -> None:
    server.put(*[mail(f"m{n}", f"text {n}") for n in range(3)])
    server.refused = {102}
    plugin = connector(server)
    first, second, third = references(enumerated(plugin))
    assert fetched(plugin, first).content == "text 0"
    with pytest.raises(MessageRefused, match="102 of 'INBOX'"):
        fetched(plugin, second)
    assert fetched(plugin, third).content == "text 2"
    server.refused = set()
    assert fetched(plugin, second).content == "text 1"


@pytest.mark.parametrize("refusal", ["NO [UNAVAILABLE] Try again later.", "BAD No mailbox is selected."])
def test_a_server_that_gives_nothing_now_is_no_messages_fault(server: ImapServer, refusal: str) -> None:
    server.put(mail("a"))
    server.refused, server.refusal = {101}, refusal
    plugin = connector(server)
    (reference,) = references(enumerated(plugin))
    with pytest.raises(ServiceUnavailable):
        fetched(plugin, reference)


def test_a_server_that_gives_none_of_many_is_no_messages_fault(server: ImapServer) -> None:
    server.put(*[mail(f"m{n}", f"text {n}") for n in range(3)])
    server.refused = {101, 102, 103}
    plugin = connector(server)
    first, *_ = references(enumerated(plugin))
    with pytest.raises(ServiceUnavailable, match="none of 3"):
        fetched(plugin, first)


def test_what_is_too_large_is_not_downloaded(server: ImapServer) -> None:
    server.put(mail("a", "x" * 3000, big=b"y" * 9000))
    plugin = connector(server, max_bytes=1000)
    for reference in references(enumerated(plugin)):
        with pytest.raises(DocumentUnreadable, match="max_bytes"):
            fetched(plugin, reference)
    assert asked(server, "BODY.PEEK") == []


def test_a_name_alone_is_enough_to_fetch(server: ImapServer) -> None:
    server.put(mail("a", report=b"%PDF-1"))
    plugin = connector(server)
    assert fetched(plugin, DocumentReference(f"{server.name}INBOX;UID=101")).content == "some text"
    assert fetched(plugin, DocumentReference(f"{server.name}INBOX;UID=101#2")).content == b"%PDF-1"
    for missing in ("INBOX;UID=7", "INBOX;UID=101#9", "nonsense"):
        with pytest.raises(DocumentGone):
            fetched(plugin, DocumentReference(f"{server.name}{missing}"))


def test_messages_are_fetched_together(server: ImapServer) -> None:
    server.put(*[mail(f"m{n}", f"text {n}") for n in range(30)])

    async def read() -> list[str]:
        plugin, found, waiting = connector(server), [], []
        async for event in plugin.enumerate():
            if isinstance(event, Checkpoint):  # as the host does: it fetches what it was told of, then goes on
                found += [(await plugin.fetch(one)).content for one in waiting]
                waiting = []
            elif isinstance(event, DocumentReference):
                waiting.append(event)
        return found

    assert asyncio.run(read()) == [f"text {n}" for n in range(30)]
    assert len(asked(server, "BODY.PEEK")) == 2
    assert len(asked(server, "LOGIN")) == 1


# -- the next run -----------------------------------------------------------------------------------------------------


def test_the_next_run_names_what_came_and_what_went(server: ImapServer) -> None:
    server.put(mail("a"), mail("b", one=b"%PDF-1", two=b"%PDF-2"), mail("c"))
    first = enumerated(connector(server))
    assert complete(first).full
    with server.as_owner() as client:
        client.delete_messages([102])
        client.expunge()
    server.put(mail("d", one=b"%PDF-3"))
    second = enumerated(connector(server), complete(first).cursor)
    assert gone(second) == ["INBOX;UID=102", "INBOX;UID=102#2", "INBOX;UID=102#3"]
    assert named(second) == ["INBOX;UID=104", "INBOX;UID=104#2"]
    assert not complete(second).full
    third = enumerated(connector(server), complete(second).cursor)
    assert named(third) == gone(third) == []


def test_new_flags_are_a_new_hint_and_new_metadata_but_the_same_content(server: ImapServer) -> None:
    server.put(mail("a", report=b"%PDF-1"))
    plugin = connector(server)
    first = enumerated(plugin)
    before = fetched(plugin, references(first)[0])
    with server.as_owner() as client:
        client.add_flags([101], ["\\Seen", "\\Flagged"])
    second = enumerated(plugin, complete(first).cursor)
    assert named(second) == ["INBOX;UID=101"]  # the attachment has none
    assert references(second)[0].change_hint != references(first)[0].change_hint
    after = fetched(plugin, references(second)[0])
    assert (after.content_hash, after.metadata["flags"]) == (before.content_hash, ["flagged", "seen"])


def test_flagged_as_deleted_is_gone_and_comes_back(server: ImapServer) -> None:
    server.put(mail("a"), mail("b"))
    first = enumerated(connector(server))
    with server.as_owner() as client:
        client.add_flags([101], ["\\Deleted"])
    second = enumerated(connector(server), complete(first).cursor)
    assert gone(second) == ["INBOX;UID=101"]
    assert gone(enumerated(connector(server, index_deleted=True), complete(first).cursor)) == []
    with server.as_owner() as client:
        client.remove_flags([101], ["\\Deleted"])
    third = enumerated(connector(server), complete(second).cursor)
    assert "INBOX;UID=101" in named(third) and gone(third) == []


def test_a_new_uidvalidity_names_the_folder_anew_and_removes_what_is_no_more(server: ImapServer) -> None:
    server.put(mail("a"), mail("b", one=b"%PDF-1"), mail("c", one=b"%PDF-2"))
    server.put(mail("x"), folder="Other")
    options = {"folders": ["*"]}
    first = enumerated(connector(server, **options))
    with server.as_owner() as client:
        client.delete_messages([102])
        client.expunge()
    server.renumber()
    second = enumerated(connector(server, **options), complete(first).cursor)
    assert named(second) == ["INBOX;UID=101", "INBOX;UID=103", "INBOX;UID=103#2"]
    hints = {one.unique_id: one.change_hint for one in references(first)}
    assert all(hints[one.unique_id] != one.change_hint for one in references(second))
    assert gone(second) == ["INBOX;UID=102", "INBOX;UID=102#2"]
    assert gone(enumerated(connector(server, **options), complete(second).cursor)) == []


def test_a_folder_that_is_renumbered_within_a_run_is_not_asked_by_the_old_numbers(server: ImapServer) -> None:
    server.put(mail("a"), mail("b"))
    plugin = connector(server)
    first = enumerated(plugin)
    plugin._open()[0]._client.socket().shutdown(2)
    server.renumber()
    for _ in range(2):
        with pytest.raises(ServiceUnavailable, match="just renumbered the messages of 'INBOX'"):
            fetched(plugin, references(first)[0])
    second = enumerated(plugin, complete(first).cursor)
    assert fetched(plugin, references(second)[0]).content == "some text"


def test_a_run_goes_on_from_each_checkpoint(server: ImapServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imap, "BATCH", 2)
    server.put(*[mail(f"m{n}") for n in range(5)])
    server.put(mail("x", one=b"%PDF-1"), folder="Other")
    events = enumerated(connector(server, folders=["*"]))
    for place, event in enumerate(events):
        if isinstance(event, Checkpoint):
            rest = enumerated(connector(server, folders=["*"]), event.cursor)
            assert references(rest) == references(events[place:])
            assert complete(rest).full
            assert Progress.of(complete(rest).cursor) == Progress.of(complete(events).cursor)


def test_gaps_of_millions_between_uids_cost_few_searches(server: ImapServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imap, "WINDOW", 2)
    server.put(mail("a"), mail("b"))  # 101 and 102
    assert named(enumerated(connector(server))) == ["INBOX;UID=101", "INBOX;UID=102"]
    assert len(asked(server, "SEARCH")) == 4  # 1..2, 3..10, 11..42, 43..


# -- folders ----------------------------------------------------------------------------------------------------------


def test_folders_are_chosen_by_patterns_and_removed_with_the_folder(server: ImapServer) -> None:
    server.put(mail("a"))
    server.put(mail("b"), folder="Archive/2026 ü;x")
    server.put(mail("c"), folder="Spam")
    first = enumerated(connector(server, folders=["inbox", "Archive/*"]))
    assert named(first) == ["Archive/2026%20%C3%BC%3Bx;UID=101", "INBOX;UID=101"]
    everything = enumerated(connector(server, folders=["*"], exclude_folders=["Spam", "Archive*"]))
    assert named(everything) == ["INBOX;UID=101"]
    with server.as_owner() as client:
        client.delete_folder("Archive/2026 ü;x")
    second = enumerated(connector(server, folders=["inbox", "Archive/*"]), complete(first).cursor)
    assert gone(second) == ["Archive/2026%20%C3%BC%3Bx;UID=101"]


def test_no_folder_at_all_is_an_error_and_removes_nothing(server: ImapServer) -> None:
    with pytest.raises(PluginConfigError, match="It has: INBOX"):
        enumerated(connector(server, folders=["Nowhere"]))


def test_since_and_attachments_can_be_left_out(server: ImapServer) -> None:
    server.put(mail("a", one=b"%PDF-1"))
    assert named(enumerated(connector(server, attachments=False))) == ["INBOX;UID=101"]
    assert named(enumerated(connector(server, since="2020-01-01", attachments=False))) == ["INBOX;UID=101"]
    assert named(enumerated(connector(server, since="2999-01-01"))) == []


# -- getting in -------------------------------------------------------------------------------------------------------


def test_refused_credentials_say_whose_and_a_server_that_is_away_waits(server: ImapServer) -> None:
    with pytest.raises(CredentialsRejected, match=r"me@mail\.test.*password_env"):
        enumerated(connector(server, password="wrong"))
    with pytest.raises(ServiceUnavailable, match="cannot be reached"):
        enumerated(connector(server, port=1))


@pytest.mark.parametrize("tls", ["on", "starttls"])
def test_tls_from_the_start_or_from_a_command_on(tmp_path: Path, tls: str) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    key, chain, trusted = tmp_path / "key.pem", tmp_path / "cert.pem", tmp_path / "ca.pem"
    issued.private_key_pem.write_to_path(key)
    for blob in issued.cert_chain_pems:
        blob.write_to_path(chain, append=True)
    authority.cert_pem.write_to_path(trusted)
    with ImapServer((chain, key), encrypted=tls == "on") as server:
        assert complete(enumerated(connector(server, tls=tls, ca_file=str(trusted)))).full
        with pytest.raises(PermanentError, match="ca_file"):
            enumerated(connector(server, tls=tls))


def test_a_connection_that_the_server_closed_is_opened_again(server: ImapServer) -> None:
    server.put(mail("a"))
    plugin = connector(server)
    reference = DocumentReference(f"{server.name}INBOX;UID=101")
    first = fetched(plugin, reference)
    plugin._open()[0]._client.socket().shutdown(2)
    assert fetched(plugin, reference) == first
    assert len(asked(server, "LOGIN")) == 2


@pytest.mark.parametrize(
    "options", [{"password": None}, {"access_token": "t"}, {"host": ""}, {"username": None}, {"since": "yesterday"}]
)
def test_configurations_that_cannot_work_say_why(options: dict) -> None:
    good = {"host": "h", "username": "u", "password": "p"}
    ImapConnector(good).validate_config()
    with pytest.raises(PluginConfigError):
        ImapConnector({**good, **options}).validate_config()


# -- values -----------------------------------------------------------------------------------------------------------


@given(st.sets(st.integers(1, 2**32 - 1)))
def test_ranges_hold_the_numbers(found: set[int]) -> None:
    assert set(numbers(ranges(found))) == found


TEXT = st.text(st.characters(codec="utf-8"), min_size=1)


@given(TEXT, TEXT, st.none() | st.integers(1, 65_535), st.integers(1, 2**32 - 1), st.sampled_from(["", "1", "2.1"]))
def test_names_can_be_read_back(user: str, folder: str, port: int | None, uid: int, section: str) -> None:
    name = MailName(account=account_name(user, "Mail.test", port), folder=folder, uid=uid, section=section)
    assert MailName.parse(name.unique_id) == name
    assert name.unique_id.isascii()
    assert urlsplit(name.unique_id).hostname == "mail.test"


def test_each_account_has_names_of_its_own(server: ImapServer) -> None:
    server.put(mail("a"))
    assert account_name("Ann/a@mail.test", "MAIL.test", 993) == "Ann%2Fa%40mail.test@mail.test"
    assert account_name("ann", "mail.test", 143) == account_name("ann", "mail.test", None) == "ann@mail.test"
    assert account_name("ann", "mail.test", 1143) == "ann@mail.test:1143"
    other = server.name.replace("me%40", "you%40")
    with pytest.raises(DocumentGone, match=r"is not a message of me%40mail\.test@127"):
        fetched(connector(server), DocumentReference(f"{other}INBOX;UID=101"))


def test_a_cursor_of_a_hundred_thousand_messages_is_small() -> None:
    from semantik_pipeline.builtin.connectors.imap_cursor import Folder, Mark

    folder = Folder(validity=1, mark=Mark(next_uid=150_001, exists=100_000, modseq=9))
    folder.uids = {uid: "seen" if uid % 5 else "" for uid in range(1, 150_001) if uid % 3}
    folder.sections = {uid: ["2"] for uid in folder.uids if uid % 7 == 0}
    assert len(Progress(rows={"INBOX": folder.row()}).last()["last"]) < 500_000


def test_signatures_are_no_attachments() -> None:
    from imapclient.response_types import BodyData

    text = (b"TEXT", b"PLAIN", (b"CHARSET", b"utf-8"), None, None, b"7BIT", 10, 1, None, None)
    signature = (b"APPLICATION", b"PGP-SIGNATURE", (b"NAME", b"s.asc"), None, None, b"7BIT", 9, None, (b"INLINE", None))
    notes = (b"TEXT", b"PLAIN", (b"NAME*0*", b"utf-8''n"), None, None, b"7BIT", 9, 1, None, (b"INLINE", None))
    outline = outline_of(BodyData.create((text, signature, notes, b"SIGNED", None, None)))
    assert [part.section for part in outline.text] == ["1"]
    assert [part.section for part in outline.attachments] == ["3"]


def test_problems_of_one_enumeration_are_not_reported_by_another(server: ImapServer) -> None:
    """Sources of the same configuration share an instance."""
    server.put(mail("a"))
    with server.as_owner() as client:
        client.create_folder("Zoo")
    plugin = connector(server, folders=["*"])

    async def interleaved() -> tuple[list[Event], list[Event]]:
        one = aiter(plugin.enumerate())
        first = [await anext(one)]
        with server.as_owner() as client:
            client.delete_folder("Zoo")
        other = [event async for event in plugin.enumerate()]
        return [*first, *[event async for event in one]], other

    one, other = asyncio.run(interleaved())
    assert not complete(one).full and complete(other).full
    assert plugin.problems == []  # those of the enumeration that began last
