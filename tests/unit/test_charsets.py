"""Charsets as they are named in the wild: every name gives a text, and the usual ones the right one."""

from __future__ import annotations

import encodings.aliases
import pkgutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semantik_pipeline.builtin.charsets import codec_of, html_charset, text_of

#: Every name that Python's own codecs answer to, charsets or not.
NAMES = sorted({module.name for module in pkgutil.iter_modules(encodings.__path__)} | set(encodings.aliases.aliases))


@pytest.mark.parametrize(
    ("text", "codec", "declared"),
    [
        ("한국어 똠방각하", "cp949", "EUC-KR"),
        ("한국어 똠방각하", "cp949", "ks_c_5601-1987"),
        ("日本語", "euc_jp", "EUC-JP"),
        ("日本語", "euc_jp", "x-euc-jp"),
        ("日本語", "iso2022_jp", "ISO-2022-JP"),
        ("日本語①", "cp932", "Shift_JIS"),
        ("日本語", "cp932", "x-sjis"),
        ("中文镕", "gb18030", "gb2312"),
        ("中文", "big5", "Big5"),
        ("naïve", "mac_roman", "macintosh"),
        ("“quoted” – 5 €", "cp1252", "iso-8859-1"),
        ("Größe €", "iso-8859-15", '"iso-8859-15"'),
        ("שלום", "iso-8859-8", "iso-8859-8-i"),
        ("ไทย", "cp874", "windows-874"),
        ("Größe", "utf-8", "us-ascii"),
        ("Größe", "utf-8", None),
        ("Größe", "cp1252", None),
        ("Größe", "cp1252", "undefined"),
        ("Größe", "utf-8", "x-unknown"),
        ("Größe", "utf-16", "iso-8859-1"),
        ("Größe", "utf-8-sig", "iso-8859-1"),
    ],
)
def test_the_text_is_what_was_meant(text: str, codec: str, declared: str | None) -> None:
    assert text_of(text.encode(codec), declared) == text


@pytest.mark.parametrize(
    "declared",
    ["", " ", "undefined", "idna", "punycode", "base64", "rot13", "unicode_escape", "a\0b", "ü", "x" * 999, "../x"],
)
def test_what_is_not_a_charset_has_no_codec(declared: str) -> None:
    assert codec_of(declared) is None


@given(st.binary(max_size=60), st.sampled_from(NAMES) | st.text(max_size=12))
def test_every_declaration_gives_a_text_that_can_be_stored(content: bytes, declared: str) -> None:
    text_of(content, declared).encode("utf-8")


def test_utf_7_cannot_smuggle_half_a_character() -> None:
    text_of(b"+2AA-", "utf-7").encode("utf-8")


def test_utf_8_with_a_damaged_place_stays_utf_8() -> None:
    assert text_of("größer, schöner, üppig, süß".encode() + b"\xff", None) == "größer, schöner, üppig, süß\ufffd"
    assert text_of("größ".encode()[:-1], None) == "grö\ufffd"


@pytest.mark.parametrize(
    ("page", "declared"),
    [
        (b"<html><head><meta charset=euc-kr>", "euc-kr"),
        (b'<meta http-equiv="Content-Type" content="text/html; charset=Shift_JIS">', "Shift_JIS"),
        (b'<?xml version="1.0" encoding="iso-8859-2"?><html>', "iso-8859-2"),
        (b'<meta charset="utf-16">', "utf-8"),
        (b"<p>charset=euc-kr</p>", None),
        (b"", None),
    ],
)
def test_what_a_page_declares_itself(page: bytes, declared: str | None) -> None:
    assert html_charset(page) == declared


def test_decoding_stays_possible_with_every_codec_that_is_accepted() -> None:
    every_byte = bytes(range(256)) * 2
    for codec in filter(None, map(codec_of, NAMES)):
        every_byte.decode(codec, "replace")
