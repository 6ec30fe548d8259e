"""Decodes bytes to text. It tries a byte-order mark, UTF-16 without a mark, strict UTF-8, UTF-8 with little damage, the
declared encoding, and finally a guess from a sample."""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING

from semantik_pipeline.builtin.media_types import looks_like_utf16
from semantik_pipeline.errors import UnsupportedContent

if TYPE_CHECKING:
    from charset_normalizer import CharsetMatch

#: Bytes from which the encoding is guessed.
SAMPLE = 64 * 1024

# UTF-32 before UTF-16, because its little-endian mark starts with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_HIGH = re.compile(rb"[\x80-\xff]+")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def decode(content: bytes, name: str, *, declared: str | None = None) -> tuple[str, str]:
    """The text, and the encoding that it had. Line ends become ``\\n``. Raises UnsupportedContent if it is not text.

    ``declared`` is the encoding that the document declares. It is used if the bytes do not show a different one.
    """
    text, encoding = _decode(content, name, declared)
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _without_control(text, name), encoding


def _decode(content: bytes, name: str, declared: str | None) -> tuple[str, str]:
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content.decode(encoding, "replace"), encoding
    silent = looks_like_utf16(content[:SAMPLE])
    if silent:
        return content.decode(silent, "replace"), silent
    if content.count(0) > max(len(content) // 1000, 8):
        raise UnsupportedContent(f"{name} is not text: it is full of zero bytes.", "Exclude it.")
    try:
        return content.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return _not_quite_utf8(content) or _as_declared(content, declared) or _guessed(content, name)


def _not_quite_utf8(content: bytes) -> tuple[str, str] | None:
    """Decode UTF-8 with a few damaged places (a log of mixed origin, a file cut within a character), or return None.

    Text in another encoding has almost no valid multi-byte sequences, so a clear majority of valid ones proves UTF-8.
    """
    text = content.decode("utf-8", "replace")
    damaged = text.count("\ufffd")
    whole = len(text) - len(text.encode("ascii", "ignore")) - damaged
    cut_at_end = damaged == 1 and text.endswith("\ufffd") and len(content) > 3
    return (text, "utf-8") if cut_at_end or whole > 4 * damaged else None


def _as_declared(content: bytes, declared: str | None) -> tuple[str, str] | None:
    try:
        encoding = codecs.lookup(declared or "").name
        return content.decode(encoding), encoding
    except (LookupError, ValueError):
        return None


def _guessed(content: bytes, name: str) -> tuple[str, str]:
    from charset_normalizer import from_bytes

    # Any even number of bytes can be valid UTF-16, so guessing it means nothing. See looks_like_utf16.
    matches = from_bytes(content[:SAMPLE], cp_exclusion=["utf_16", "utf_16_le", "utf_16_be", "utf_32", "utf_7"])
    best = matches.best()
    if best is None:
        raise UnsupportedContent(f"{name} is not text in any known encoding.", "Exclude it, or convert it to UTF-8.")
    western = _has_single_high_bytes(content[:SAMPLE]) if best.multi_byte_usage else False
    western = western or any(_is_western(match, best) for match in matches)
    encoding = "cp1252" if western else best.encoding
    return content.decode(encoding, "replace"), encoding


def _has_single_high_bytes(sample: bytes) -> bool:
    """Whether bytes above ASCII occur alone or in pairs, like umlauts. East Asian text has them in long runs."""
    runs = _HIGH.findall(sample)
    return sum(map(len, runs)) < 2.5 * len(runs)


def _is_western(match: CharsetMatch, best: CharsetMatch) -> bool:
    """Whether cp1252 explains the sample as well as the best guess, which may only come first in alphabetical order
    (such as the Polish cp1250)."""
    known = "cp1252" in (match.encoding, *match.could_be_from_charset)
    return known and match.chaos <= best.chaos and match.coherence >= best.coherence - 0.05


def _without_control(text: str, name: str) -> str:
    """Replace NULs and other control characters by spaces. Raises UnsupportedContent if there are many, because then it
    is not text."""
    found = sum(1 for _ in _CONTROL.finditer(text[:SAMPLE]))
    if found > max(len(text[:SAMPLE]) // 100, 8):
        raise UnsupportedContent(f"{name} is not text: it is full of control characters.", "Exclude it.")
    return _CONTROL.sub(" ", text)
