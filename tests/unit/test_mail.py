"""Mail as senders make it: no header and no charset stops the reader."""

from __future__ import annotations

from email import message_from_bytes

import pytest

from semantik_pipeline.builtin import mail


def part(*headers: str, body: bytes = "Grüße\r\nan alle".encode()):
    return message_from_bytes("\r\n".join(headers).encode() + b"\r\n\r\n" + body)


CHARSETS = ["=utf-8", "=us-ascii", "=undefined", "=idna", "=klingon", "*=undefined''x", "*=%00''utf-8", "", "s=x"]


@pytest.mark.parametrize("charset", CHARSETS)
def test_a_charset_that_is_none_is_no_reason_not_to_read(charset):
    assert mail.text_of_part(part(f"Content-Type: text/plain; charset{charset}")) == "Grüße\nan alle"


@pytest.mark.parametrize("encoding", ["base64", "BASE64 ", " base64\t"])
def test_the_transfer_encoding_is_undone_and_the_part_left_as_it_is(encoding):
    one = part(f"Content-Transfer-Encoding: {encoding}", body=b"R3LDvMOfZQ==")
    before = one.as_bytes()
    assert mail.bytes_of_part(one) == "Grüße".encode() and one.as_bytes() == before


def test_bytes_that_are_not_encoded_stay_as_they_are():
    assert mail.bytes_of_part(part("Content-Transfer-Encoding: 8bit", body=b"\xff\xfe\x00")) == b"\xff\xfe\x00"


def test_a_date_that_no_calendar_has_is_none():
    assert mail.written_at("Fri, 02 Jan 2026 03:04:05 +0100").isoformat() == "2026-01-02T03:04:05+01:00"
    for value in ("Fri, 02 Jan 99999 03:04:05 +0100", "Fri, 02 Jan 2026 03:04:05 +99999999999999", "never", None):
        assert mail.written_at(value) is None


def test_headers_are_readable_whatever_they_claim_to_be():
    assert mail.readable("=?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n aus K=?x?") == "Grüße aus K=?x?"
    for broken in ("=?undefined?q?A?=", "=?idna?b?QQ==?=", "=?utf-8?b?A?="):
        assert mail.readable(broken)
    assert mail.readable(None) == ""


def test_what_has_a_file_name_is_attached():
    assert mail.file_name(part("Content-Disposition: inline; filename*=utf-8''r%C3%BC.txt")) == "rü.txt"
    assert mail.is_attached(part("Content-Type: text/plain; name=notes.txt"))
    assert mail.is_attached(part("Content-Disposition: attachment"))
    assert mail.file_name(part("Content-Disposition: inline; filename*=undefined''r.txt")) == ""
    assert not mail.is_attached(part("Content-Disposition: inline"))
