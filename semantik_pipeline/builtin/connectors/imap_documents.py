"""Makes documents of what an IMAP server sends: decoded text, readable headers, attachments as files."""

from __future__ import annotations

from datetime import datetime
from email import message_from_bytes
from email.message import Message
from email.utils import formataddr, getaddresses
from typing import Any

from semantik_pipeline.builtin.connectors.imap_names import MailName
from semantik_pipeline.builtin.connectors.imap_outline import Part
from semantik_pipeline.builtin.mail import bytes_of_part, file_name, readable, text_of_part, written_at
from semantik_pipeline.builtin.media_types import UNKNOWN, media_type
from semantik_pipeline.documents import IngestedDocument, content_hash
from semantik_pipeline.errors import SkipDocument

#: Maximum number of addresses of one header that are kept.
MAX_ADDRESSES = 50


def message_document(
    name: MailName, *, header: bytes, texts: list[tuple[Part, bytes, bytes]], flags: tuple[str, ...], received: Any
) -> IngestedDocument:
    """The document of a message: its text, with its headers as metadata. ``texts`` has each text part with its MIME
    header and its body as transferred. If a message has only a subject, the subject is its text."""
    about = described(header, received)
    content = "\n\n".join(filter(None, (text_of_part(_part(mime, body)).strip() for _, mime, body in texts)))
    kind = texts[0][0].media_type if content else "text/plain"
    content = content or about.get("title", "")
    if not content:
        raise SkipDocument(f"{name.unique_id} has neither text nor subject.")
    return IngestedDocument(
        content=content,
        unique_id=name.unique_id,
        source_type="imap",
        metadata={**about, "folder": name.folder, "flags": list(flags)},
        content_hash=content_hash(content),
        media_type=kind,
    )


def raw_document(
    name: MailName, *, header: bytes, raw: bytes, flags: tuple[str, ...], received: Any
) -> IngestedDocument:
    """The document of a message whose structure could not be read: the whole message as a mail file."""
    return IngestedDocument(
        content=raw,
        unique_id=name.unique_id,
        source_type="imap",
        metadata={**described(header, received), "folder": name.folder, "flags": list(flags)},
        content_hash=content_hash(raw),
        file_path="message.eml",
        media_type="message/rfc822",
    )


def attachment_document(
    name: MailName, part: Part, *, header: bytes, mime: bytes, body: bytes, received: Any
) -> IngestedDocument:
    """The document of an attachment: the file itself, with facts about its message as metadata."""
    told = _part(mime, body)
    content = body if part.media_type == "message/rfc822" else bytes_of_part(told)
    if not content:
        raise SkipDocument(f"{name.unique_id} is empty.")
    named = file_name(told) or ("message.eml" if part.media_type == "message/rfc822" else f"part-{part.section}")
    kind = part.media_type
    parent = MailName(account=name.account, folder=name.folder, uid=name.uid)
    about = {key: value for key, value in described(header, received).items() if key in ("from", "date")}
    subject = readable(message_from_bytes(header).get("Subject"))
    return IngestedDocument(
        content=content,
        unique_id=name.unique_id,
        source_type="imap",
        metadata={
            "file_name": named,
            "message": parent.unique_id,
            "folder": name.folder,
            **({"subject": subject} if subject else {}),
            **about,
        },
        content_hash=content_hash(content),
        file_path=named,
        media_type=media_type(content, named) if kind in (UNKNOWN, "text/plain") else kind,
    )


def described(header: bytes, received: Any) -> dict[str, Any]:
    """A message's headers as metadata: title (its subject), from, to, cc, date, message_id, in_reply_to."""
    told = message_from_bytes(header)
    found: dict[str, Any] = {
        "title": readable(told.get("Subject")),
        "from": ", ".join(_addresses(told, "From")),
        "to": _addresses(told, "To"),
        "cc": _addresses(told, "Cc"),
        "date": _date(told.get("Date"), received),
        "message_id": readable(told.get("Message-ID")),
        "in_reply_to": readable(told.get("In-Reply-To")),
    }
    return {key: value for key, value in found.items() if value}


def _part(mime: bytes, body: bytes) -> Message:
    """A part of a message, from its header and body as transferred."""
    part = message_from_bytes(mime)
    part.set_payload(body.decode("ascii", "surrogateescape"))
    return part


def _addresses(told: Message, name: str) -> list[str]:
    pairs = getaddresses([str(value) for value in told.get_all(name, [])])[:MAX_ADDRESSES]
    return [_address(readable(person), readable(where)) for person, where in pairs if where]


def _address(person: str, where: str) -> str:
    if not person:
        return where
    try:
        return formataddr((person, where), charset="utf-8") if person.isascii() else f"{person} <{where}>"
    except UnicodeError:
        return f"{person} <{where}>"


def _date(value: Any, received: Any) -> str:
    """When the message was written, or else received, in ISO 8601."""
    when = written_at(value) or received
    return when.isoformat(timespec="seconds") if isinstance(when, datetime) else ""
