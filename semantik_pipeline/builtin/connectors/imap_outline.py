"""Determines from a message's BODYSTRUCTURE which parts are its text and which are attachments, without downloading
anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from typing import Any

#: Signatures of other parts, which have no content of their own.
_SIGNATURES = {"application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature"}

#: Maximum depth of nested parts that are examined.
MAX_DEPTH = 20


@dataclass(frozen=True, kw_only=True)
class Part:
    """A leaf: its section, its media type, and its size in bytes as transferred."""

    section: str
    media_type: str
    size: int
    attached: bool = False


@dataclass(frozen=True, kw_only=True)
class Outline:
    """The parts of a message. ``text`` has the parts that make up its text, all of one media type. If ``multipart`` is
    False, the message is a single part, whose header is the message's own."""

    text: tuple[Part, ...] = ()
    attachments: tuple[Part, ...] = ()
    multipart: bool = False

    def part(self, section: str) -> Part | None:
        return next((part for part in self.attachments if part.section == section), None)


def outline_of(structure: Any) -> Outline:
    """The outline of a message. Of alternatives, plain text is preferred to HTML. Pictures that belong to the layout,
    and signatures, do not count as attachments."""
    leaves = list(_leaves(structure, "", 0))
    inline = [leaf for leaf in leaves if leaf.media_type in ("text/plain", "text/html") and not leaf.attached]
    text = tuple(leaf for leaf in inline if leaf.media_type == inline[0].media_type)
    rest = [leaf for leaf in leaves if leaf not in text and leaf.media_type not in _SIGNATURES]
    return Outline(text=text, attachments=tuple(rest), multipart=bool(structure.is_multipart))


def _leaves(body: Any, section: str, depth: int) -> Iterator[Part]:
    if not body.is_multipart:
        if not _is_layout(body):
            yield _part(body, section or "1")
        return
    if depth >= MAX_DEPTH:
        return
    children = [
        list(_leaves(child, f"{section}.{number}" if section else str(number), depth + 1))
        for number, child in enumerate(body[0], 1)
    ]
    if _text(body[1]) == "alternative":
        children = _alternatives(children)
    for leaves in children:
        yield from leaves


def _alternatives(children: list[list[Part]]) -> list[list[Part]]:
    """Choose one of several alternatives. Of the others, only attachments are kept."""

    def rank(leaves: list[Part]) -> int:
        kinds = [leaf.media_type for leaf in leaves if not leaf.attached]
        return 0 if "text/plain" in kinds else 1 if "text/html" in kinds else 2

    chosen = min(children, key=rank, default=[])
    return [
        leaves if leaves is chosen else [leaf for leaf in leaves if leaf.attached or rank([leaf]) == 2]
        for leaves in children
    ]


def _part(body: Any, section: str) -> Part:
    return Part(
        section=section,
        media_type=_media_type(body),
        size=body[6] if isinstance(body[6], int) else 0,
        attached=_disposition(body) == "attachment" or "name" in _pairs(body[2]) or "filename" in _told(body),
    )


def _is_layout(body: Any) -> bool:
    """Whether this is a picture that an HTML part embeds."""
    return _text(body[0]) == "image" and body[3] is not None and _disposition(body) != "attachment"


def _media_type(body: Any) -> str:
    return f"{_text(body[0])}/{_text(body[1])}"


def _disposition_field(body: Any) -> Any:
    """The disposition field, whose position depends on the media type: it follows the MD5 field, which follows the
    fields that the media type requires (RFC 3501)."""
    place = {"text/": 9, "message/rfc822": 11}.get(
        "text/" if _media_type(body).startswith("text/") else _media_type(body), 8
    )
    field = body[place] if len(body) > place else None
    if isinstance(field, bytes):  # some servers send the raw header instead of its parts
        return _parsed(field)
    return field if isinstance(field, tuple) and field else None


def _parsed(header: bytes) -> Any:
    message = Message()
    message["Content-Disposition"] = header.decode("ascii", "replace")
    parameters = message.get_params([], "Content-Disposition")[1:]
    return (message.get_content_disposition(), tuple(word for pair in parameters for word in pair))


def _disposition(body: Any) -> str:
    field = _disposition_field(body)
    return _text(field[0]) if field else ""


def _told(body: Any) -> set[str]:
    field = _disposition_field(body)
    return _pairs(field[1]) if field and len(field) > 1 else set()


def _pairs(parameters: Any) -> set[str]:
    """The names of parameters, without the suffixes of RFC 2231."""
    if not isinstance(parameters, tuple):
        return set()
    return {_text(name).partition("*")[0] for name in parameters[::2]}


def _text(value: Any) -> str:
    return value.decode("ascii", "replace").lower() if isinstance(value, bytes) else str(value).lower()
