"""From what an IMAP server sends to documents: decoded text, readable headers, attachments as files."""

from __future__ import annotations

import email.message
from datetime import datetime
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.utils import formataddr, getaddresses, parsedate_to_datetime
from typing import Any

from semantik_pipeline.builtin.connectors.imap_names import MailName
from semantik_pipeline.builtin.connectors.imap_outline import Part
from semantik_pipeline.builtin.media_types import UNKNOWN, media_type
from semantik_pipeline.documents import IngestedDocument, content_hash
from semantik_pipeline.errors import SkipDocument

#: Addresses of one header that are kept.
MAX_ADDRESSES = 50


def message_document(
    name: MailName, *, header: bytes, texts: list[tuple[Part, bytes, bytes]], flags: tuple[str, ...], received: Any
) -> IngestedDocument:
    """A message: its text, with its headers as metadata. ``texts``: each part with its MIME header and its body as it
    was transferred. A message of nothing but a subject is its subject."""
    about = described(header, received)
    content = "\n\n".join(filter(None, (_decoded(mime, body).strip() for _, mime, body in texts)))
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
    """A message whose parts could not be told apart, as the mail file that it is."""
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
    """An attachment: the file itself, named after its part, with the message that it hangs on as metadata."""
    told = message_from_bytes(mime)
    content = body if part.media_type == "message/rfc822" else _bytes(mime, body)
    if not content:
        raise SkipDocument(f"{name.unique_id} is empty.")
    file_name = _readable(told.get_filename()) or (
        "message.eml" if part.media_type == "message/rfc822" else f"part-{part.section}"
    )
    kind = part.media_type
    parent = MailName(account=name.account, folder=name.folder, uid=name.uid)
    about = {key: value for key, value in described(header, received).items() if key in ("from", "date")}
    subject = _readable(message_from_bytes(header).get("Subject"))
    return IngestedDocument(
        content=content,
        unique_id=name.unique_id,
        source_type="imap",
        metadata={
            "file_name": file_name,
            "message": parent.unique_id,
            "folder": name.folder,
            **({"subject": subject} if subject else {}),
            **about,
        },
        content_hash=content_hash(content),
        file_path=file_name,
        media_type=media_type(content, file_name) if kind in (UNKNOWN, "text/plain") else kind,
    )


def described(header: bytes, received: Any) -> dict[str, Any]:
    """A message's headers for people and filters: title (its subject), from, to, cc, date, message_id, in_reply_to."""
    told = message_from_bytes(header)
    found: dict[str, Any] = {
        "title": _readable(told.get("Subject")),
        "from": ", ".join(_addresses(told, "From")),
        "to": _addresses(told, "To"),
        "cc": _addresses(told, "Cc"),
        "date": _date(told.get("Date"), received),
        "message_id": _readable(told.get("Message-ID")),
        "in_reply_to": _readable(told.get("In-Reply-To")),
    }
    return {key: value for key, value in found.items() if value}


def _decoded(mime: bytes, body: bytes) -> str:
    """A text part; bytes that its charset does not know are replaced."""
    plain = _bytes(mime, body)
    charset = message_from_bytes(mime).get_content_charset() or "utf-8"
    try:
        text = plain.decode("utf-8" if charset == "us-ascii" else charset, "replace")
    except LookupError:
        text = plain.decode("utf-8", "replace")
    return text.replace("\r\n", "\n").removeprefix("\ufeff")


def _bytes(mime: bytes, body: bytes) -> bytes:
    """The body without its transfer encoding."""
    part = email.message.Message()
    part["Content-Transfer-Encoding"] = _readable(message_from_bytes(mime).get("Content-Transfer-Encoding")) or "8bit"
    part.set_payload(body.decode("ascii", "surrogateescape"))
    found = part.get_payload(decode=True)
    return found if isinstance(found, bytes) else body


def _readable(value: Any) -> str:
    """A header's value, encoded words decoded, on one line."""
    if value is None:
        return ""
    try:
        text = str(make_header(decode_header(str(value))))
    except (HeaderParseError, LookupError, ValueError):
        text = str(value)
    return " ".join(text.encode("utf-8", "replace").decode().split())


def _addresses(told: email.message.Message, name: str) -> list[str]:
    pairs = getaddresses([str(value) for value in told.get_all(name, [])])[:MAX_ADDRESSES]
    return [_address(_readable(person), _readable(where)) for person, where in pairs if where]


def _address(person: str, where: str) -> str:
    if not person:
        return where
    try:
        return formataddr((person, where), charset="utf-8") if person.isascii() else f"{person} <{where}>"
    except UnicodeError:
        return f"{person} <{where}>"


def _date(value: Any, received: Any) -> str:
    """When it was written, else when it came, as ISO 8601."""
    try:
        return parsedate_to_datetime(str(value)).isoformat(timespec="seconds")
    except ValueError:
        return received.isoformat(timespec="seconds") if isinstance(received, datetime) else ""
