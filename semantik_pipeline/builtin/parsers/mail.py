"""Converts mail files to pieces: the text of all parts of a message, and of the messages within it."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from typing import Any

from semantik_pipeline.builtin.charsets import text_of
from semantik_pipeline.builtin.mail import is_attached, readable, text_of_part
from semantik_pipeline.builtin.parsers.assembly import Piece, printable
from semantik_pipeline.builtin.parsers.html_pieces import html_pieces


@dataclass(frozen=True, kw_only=True)
class MailHead:
    """The head of a message, which comes before its body. Any field may be empty."""

    subject: str = ""
    sender: str = ""
    recipients: str = ""
    date: str = ""

    @property
    def metadata(self) -> dict[str, str]:
        fields = {"subject": self.subject, "from": self.sender, "to": self.recipients, "date": self.date}
        return {name: value for name, value in fields.items() if value}

    def pieces(self, level: int = 1) -> Iterator[Piece]:
        """Yield the subject as a heading of this level, and the other fields as one piece with a line each."""
        named = (("From", self.sender), ("To", self.recipients), ("Date", self.date))
        lines = "\n".join(f"{name}: {value}" for name, value in named if value)
        if self.subject:
            yield Piece(kind="heading", text=self.subject, level=level)
        if lines:
            yield Piece(kind="header", text=lines)


def head_of_eml(content: bytes) -> MailHead:
    return _head(message_from_bytes(content))


def head_of_msg(content: bytes) -> MailHead:
    from oxmsg import Message as OutlookMessage

    message = OutlookMessage.load(io.BytesIO(content))
    return MailHead(
        subject=(message.subject or "").strip(),
        sender=(message.sender or "").strip(),
        recipients=", ".join(recipient.email_address for recipient in message.recipients),
        date=message.sent_date.isoformat() if message.sent_date else "",
    )


def eml_pieces(content: bytes) -> Iterator[Piece]:
    """The text parts that are not attachments, in order, and the messages within, each after its head."""
    return _part_pieces(message_from_bytes(content))


def msg_pieces(content: bytes) -> Iterable[Piece]:
    """The HTML body, or else the plain text."""
    from oxmsg import Message as OutlookMessage
    from oxmsg.domain.constants import PID_HTML

    message = OutlookMessage.load(io.BytesIO(content))
    page = message.properties.binary_prop_value(PID_HTML)
    html = text_of(page, message.properties.body_encoding) if page else message.html_body
    return html_pieces(html) if html else _plain_pieces(message.body or "")


def _head(message: Message) -> MailHead:
    subject, sender, recipients, date = (readable(message[name]) for name in ("Subject", "From", "To", "Date"))
    return MailHead(subject=subject, sender=sender, recipients=recipients, date=date)


def _part_pieces(part: Message) -> Iterator[Piece]:
    kind = part.get_content_type()
    if not part.is_multipart():
        if kind in ("text/plain", "text/html") and not is_attached(part):
            text = text_of_part(part)
            yield from html_pieces(text) if kind == "text/html" else _plain_pieces(text)
        return
    parts: Any = part.get_payload()
    if kind == "multipart/alternative":  # the last part is the richest (RFC 2046)
        yield from next((found for one in reversed(parts) if (found := list(_part_pieces(one)))), [])
        return
    for one in parts:
        if kind == "message/rfc822":
            yield from _head(one).pieces(level=2)
        yield from _part_pieces(one)


def _plain_pieces(text: str) -> Iterator[Piece]:
    """Yield the paragraphs, which are separated by blank lines."""
    for paragraph in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n")):
        if clean := printable(paragraph):
            yield Piece(kind="paragraph", text=clean)
