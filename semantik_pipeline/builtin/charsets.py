"""Text from bytes whose sender names a charset (an HTTP or MIME header, a page), rightly or not."""

from __future__ import annotations

import codecs
import re

# The longer marks first: UTF-32's little-endian mark begins with UTF-16's.
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

#: Bytes at the start of a page in which its own declaration is looked for.
HTML_HEAD = 4096

_NAME = re.compile(r"[A-Za-z0-9][\w.:+-]{0,59}", re.ASCII)
_DECLARED = re.compile(
    rb"""(?:<meta\b[^>]{0,300}?charset|<\?xml\b[^>]{0,100}?encoding)\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE
)

#: Names in use that Python does not know.
_ALIASES = {
    "iso-8859-8-i": "iso-8859-8",
    "windows-874": "cp874",
    "x-euc-jp": "euc_jp",
    "x-gbk": "gbk",
    "x-mac-roman": "mac_roman",
    "x-sjis": "cp932",
}

#: What senders mean who name the codec on the left: its superset, as browsers read it
#: (https://encoding.spec.whatwg.org).
_SUPERSETS = {
    "big5": "big5hkscs",
    "euc_kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "shift_jis": "cp932",
    "tis-620": "cp874",
}

#: Codecs for text that are not charsets: Python's own spelling of characters, and that of host names. (From Python 3.13
#: on, punycode replaces some bad bytes, and still fails on others.)
_NOT_CHARSETS = ("unicode-escape", "raw-unicode-escape", "punycode")


def codec_of(declared: str | None) -> str | None:
    """The Python codec for the name of a charset; None if it names none that text is in (``x-unknown``, ``undefined``,
    ``base64``). Decoding with it and ``errors="replace"`` never fails."""
    name = (declared or "").strip("\"' \t\r\n").lower()
    if not _NAME.fullmatch(name):
        return None
    try:
        found = codecs.lookup(_ALIASES.get(name, name)).name
        b"\xff".decode(found, "replace")  # what cannot replace a bad byte is not a charset
    except (LookupError, ValueError):
        return None
    return None if found in _NOT_CHARSETS else _SUPERSETS.get(found, found)


def text_of(content: bytes, declared: str | None) -> str:
    """The text of these bytes, without a byte-order mark. Never fails, and the result can be encoded as UTF-8.

    A byte-order mark counts first, then the declared charset; bytes that it does not know become U+FFFD. Where nothing
    usable is declared (``us-ascii`` says nothing about bytes above ASCII), it is UTF-8 if most of it is, otherwise
    Windows-1252.
    """
    marked = next((codec for mark, codec in MARKS if content.startswith(mark)), None)
    codec = marked or codec_of(declared)
    if codec in (None, "ascii"):
        return mostly_utf8(content) or content.decode("cp1252", "replace")
    text = content.decode(codec, "replace")
    return text.encode("utf-8", "replace").decode()  # UTF-7 may spell half a surrogate pair


def mostly_utf8(content: bytes) -> str | None:
    """The text of UTF-8 with at most a few damaged places (a log of mixed origin, a file cut within a character), or
    None. "" is the text of no bytes.

    Text in another encoding has next to no valid multi-byte sequences, so a clear majority of them is proof.
    """
    text = content.decode("utf-8", "replace")
    damaged = text.count("\ufffd") - content.count(b"\xef\xbf\xbd")
    whole = len(text) - len(text.encode("ascii", "ignore")) - damaged
    cut_at_end = damaged == 1 and text.endswith("\ufffd") and len(content) > 3
    return text if not damaged or cut_at_end or whole > 4 * damaged else None


def html_charset(content: bytes) -> str | None:
    """The charset that a page declares itself (``<meta charset>``, or an XML declaration), as it is written; None if it
    declares none. A declaration that can be read as ASCII is not in UTF-16, whatever it says: browsers take UTF-8."""
    found = _DECLARED.search(content[:HTML_HEAD])
    name = found.group(1).decode("ascii", "replace") if found else None
    return "utf-8" if name and name.lower().startswith(("utf-16", "utf16")) else name
