"""What mail is made of, read so that no header and no charset that a sender made up stops the reader."""

from __future__ import annotations

from copy import copy
from datetime import datetime
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import Any

from semantik_pipeline.builtin.charsets import text_of


def readable(value: Any) -> str:
    """A header's value, encoded words decoded, on one line; "" for None."""
    if value is None:
        return ""
    try:
        text = str(make_header(decode_header(str(value))))
    except (HeaderParseError, LookupError, ValueError):
        text = str(value)
    return " ".join(text.encode("utf-8", "replace").decode().split())


def written_at(value: Any) -> datetime | None:
    """The time in a Date header; None where it is not a date, or one that no calendar has."""
    try:
        return parsedate_to_datetime(str(value))
    except (ValueError, OverflowError):
        return None


def file_name(part: Message) -> str:
    """The name that a part was given as a file; "" if none."""
    try:
        return readable(part.get_filename())
    except (LookupError, ValueError):  # RFC 2231 lets senders name a charset, and these name any
        return ""


def is_attached(part: Message) -> bool:
    """Whether a part is a file that hangs on the message, and not a part of its text."""
    return part.get_content_disposition() == "attachment" or bool(file_name(part))


def text_of_part(part: Message) -> str:
    """A text part without its transfer encoding; line ends are ``\\n``."""
    try:
        charset = part.get_content_charset()
    except (LookupError, ValueError):
        charset = None
    return text_of(bytes_of_part(part), charset).replace("\r\n", "\n")


def bytes_of_part(part: Message) -> bytes:
    """A part that has no parts itself, without its transfer encoding."""
    part, encoding = copy(part), readable(part["Content-Transfer-Encoding"])
    del part["Content-Transfer-Encoding"]
    part["Content-Transfer-Encoding"] = encoding or "8bit"
    found = part.get_payload(decode=True)
    return found if isinstance(found, bytes) else b""
