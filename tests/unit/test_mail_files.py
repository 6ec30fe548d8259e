"""Mail files read by the parser `unstructured`: text parts and messages within them, without attachments."""

from __future__ import annotations

from email.message import EmailMessage

import pytest

from semantik_pipeline.builtin.parsers.unstructured import UnstructuredParser
from semantik_pipeline.testing.parsers import check_parsed

PNG = b"\x89PNG\r\n\x1a\n"


def mail(subject: str, text: str, subtype: str = "plain") -> EmailMessage:
    message = EmailMessage()
    message["Subject"], message["From"] = subject, "Ann <ann@mail.test>"
    message.set_content(text, subtype=subtype)
    return message


def parse(content: EmailMessage | bytes) -> list[tuple[str, str]]:
    raw = content if isinstance(content, bytes) else content.as_bytes()
    parsed = UnstructuredParser().parse(raw, file_path="a.eml")
    check_parsed(parsed)
    return [(one.kind, parsed.text[one.start : one.end]) for one in parsed.elements]


def test_all_text_parts_in_their_order_and_the_messages_within():
    message = mail("outer", "The first text.\n\nIts second paragraph.")
    message.make_mixed()
    message.attach(mail_part("inline", PNG, "image", "png"))
    message.attach(mail_part("inline", b"The text behind the picture.", "text", "plain"))
    message.attach(mail_part("inline", b"<p>And some <b>HTML</b>.</p>", "text", "html"))
    message.attach(mail_part("attachment", b"A file that hangs on it.", "text", "plain"))
    inner = mail("inner", "<form><p>The inner text.</p></form>", "html")
    inner.add_attachment(mail("innermost", "The innermost text."))
    message.add_attachment(inner)
    assert parse(message) == [
        ("heading", "outer"),
        ("header", "From: Ann <ann@mail.test>"),
        ("paragraph", "The first text."),
        ("paragraph", "Its second paragraph."),
        ("paragraph", "The text behind the picture."),
        ("paragraph", "And some HTML."),
        ("heading", "inner"),
        ("header", "From: Ann <ann@mail.test>"),
        ("paragraph", "The inner text."),
        ("heading", "innermost"),
        ("header", "From: Ann <ann@mail.test>"),
        ("paragraph", "The innermost text."),
    ]


def mail_part(disposition: str, content: bytes, maintype: str, subtype: str) -> EmailMessage:
    part = EmailMessage()
    part.set_content(content, maintype=maintype, subtype=subtype, disposition=disposition)
    return part


def test_of_alternatives_the_richest_that_has_text():
    message = mail("a", "Your program reads no HTML.")
    message.add_alternative("<h2>News</h2><p>The rich text.</p>", subtype="html")
    assert parse(message)[2:] == [("heading", "News"), ("paragraph", "The rich text.")]
    message.add_alternative("BEGIN:VCALENDAR", subtype="calendar")
    assert parse(message)[-1] == ("paragraph", "The rich text.")
    message = mail("a", "The plain text.")
    message.add_alternative("<img src='cid:only'>", subtype="html")
    assert parse(message)[-1] == ("paragraph", "The plain text.")


@pytest.mark.parametrize("charset", ["utf-8", "undefined", "klingon", "us-ascii"])
def test_headers_and_charsets_as_senders_make_them(charset):
    raw = (
        f"Subject: =?{charset}?q?A?=\r\nDate: Fri, 99 Xyz\r\nContent-Type: text/plain; charset={charset}\r\n\r\nGrüße."
    )
    assert parse(raw.encode())[-1] == ("paragraph", "Grüße.")


def test_lines_of_plain_text_stay_lines():
    assert parse(mail("a", "Dear Bob,\nsee below.\n\n- one\n- two\n"))[2:] == [
        ("paragraph", "Dear Bob,\nsee below."),
        ("paragraph", "- one\n- two"),
    ]
