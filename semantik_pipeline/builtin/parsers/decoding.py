"""From bytes to text: byte-order mark, strict UTF-8, UTF-16 without a mark, then a guess on a sample."""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING

from semantik_pipeline.builtin.media_types import looks_like_utf16
from semantik_pipeline.errors import UnsupportedContent

if TYPE_CHECKING:
    from charset_normalizer import CharsetMatch

#: How much of a text the guess looks at.
SAMPLE = 64 * 1024

# The longer marks first: UTF-32's little-endian mark begins with UTF-16's.
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
    """The text and the encoding it was in; line ends are ``\\n``. Raises UnsupportedContent if it is no text.

    ``declared`` is what the document says of itself; it is believed where the bytes do not say otherwise.
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
        raise UnsupportedContent(f"{name} is no text: it is full of zero bytes.", "Exclude it.")
    try:
        return content.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return _not_quite_utf8(content) or _as_declared(content, declared) or _guessed(content, name)


def _not_quite_utf8(content: bytes) -> tuple[str, str] | None:
    """UTF-8 with a few damaged places (a log of mixed origin, a file cut within a character), or None.

    Text in another encoding has next to no valid multi-byte sequences, so a clear majority of them is proof.
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

    # Any even number of bytes is valid UTF-16, so it is no guess; see looks_like_utf16.
    matches = from_bytes(content[:SAMPLE], cp_exclusion=["utf_16", "utf_16_le", "utf_16_be", "utf_32", "utf_7"])
    best = matches.best()
    if best is None:
        raise UnsupportedContent(f"{name} is no text in any known encoding.", "Exclude it, or convert it to UTF-8.")
    western = _has_single_high_bytes(content[:SAMPLE]) if best.multi_byte_usage else False
    western = western or any(_is_western(match, best) for match in matches)
    encoding = "cp1252" if western else best.encoding
    return content.decode(encoding, "replace"), encoding


def _has_single_high_bytes(sample: bytes) -> bool:
    """Whether bytes above ASCII stand alone or in twos, as umlauts do; East Asian text has them in long runs."""
    runs = _HIGH.findall(sample)
    return sum(map(len, runs)) < 2.5 * len(runs)


def _is_western(match: CharsetMatch, best: CharsetMatch) -> bool:
    """Whether cp1252 explains the sample as well as the best guess; alphabetical order must not make it Polish."""
    known = "cp1252" in (match.encoding, *match.could_be_from_charset)
    return known and match.chaos <= best.chaos and match.coherence >= best.coherence - 0.05


def _without_control(text: str, name: str) -> str:
    """The text without NULs and their like, which neither a database nor a reader wants; many of them mean: no text."""
    found = sum(1 for _ in _CONTROL.finditer(text[:SAMPLE]))
    if found > max(len(text[:SAMPLE]) // 100, 8):
        raise UnsupportedContent(f"{name} is no text: it is full of control characters.", "Exclude it.")
    return _CONTROL.sub(" ", text)
