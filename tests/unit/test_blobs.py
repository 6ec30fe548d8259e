"""Bodies by key, in a folder and in a bucket: whole or not at all, young again when they are put again, and whose fault
it is when the store is not there."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from semantik_pipeline.blobs import GRACE, Blobs
from semantik_pipeline.documents import Element, ParsedDocument, content_hash
from semantik_pipeline.errors import ServiceUnavailable, SettingsError

KEY = content_hash(b"body")
OTHER = content_hash(b"other")


@dataclass
class Place:
    """Where blobs lie, and what makes the raw body of ``KEY`` so many seconds old."""

    url: str
    make_old: Callable[[float], None]

    @property
    def blobs(self) -> Blobs:
        return Blobs(self.url)


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "folder":

        def age_file(seconds: float) -> None:
            os.utime(tmp_path / "raw" / KEY[:2] / KEY, (time.time() - seconds,) * 2)

        return Place(str(tmp_path), age_file)
    return request.getfixturevalue("in_bucket")


@pytest.fixture
def in_bucket(bucket, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.server.url)

    def age_object(seconds: float) -> None:
        from moto.core import DEFAULT_ACCOUNT_ID
        from moto.s3.models import s3_backends

        keys = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets[bucket.name].keys
        keys[f"blobs/raw/{KEY[:2]}/{KEY}"].last_modified = datetime.fromtimestamp(time.time() - seconds, UTC)

    return Place(f"s3://{bucket.name}/blobs", age_object)


def test_what_is_put_is_there_for_every_process(place):
    assert place.blobs.get_raw(KEY) is None
    place.blobs.put_raw(KEY, b"body")
    place.blobs.put_raw(KEY, b"body")
    assert place.blobs.get_raw(KEY) == b"body"
    parsed = ParsedDocument("Text", [Element("heading", 0, 4, 1, ("A",))], {"a": 1}, "T")
    place.blobs.put_parsed(KEY, parsed)
    assert place.blobs.get_parsed(KEY) == parsed and place.blobs.get_parsed(OTHER) is None


def test_many_are_put_and_removed_as_each_alone(place):
    bodies = {content_hash(body): body for body in [b"body", *(b"%d" % number for number in range(40))]}
    place.blobs.put_many("raw", bodies.items())
    assert {key: place.blobs.get_raw(key) for key in bodies} == bodies
    place.make_old(10 * GRACE)
    place.blobs.remove_many("raw", [*bodies, OTHER])
    assert [key for key in bodies if place.blobs.get_raw(key) is None] == [KEY], "all others are young"


def test_a_bucket_is_asked_once_for_each_body(in_bucket, bucket):
    """Looking first, as for a folder, would take two more requests for a new body, and one for its size to read it."""
    blobs = in_bucket.blobs
    for ask, method in (
        (lambda: blobs.put_raw(KEY, b"body"), "PUT"),
        (lambda: blobs.get_raw(KEY), "GET"),
        (lambda: blobs.get_parsed(KEY), "GET"),
    ):
        bucket.server.requests.clear()
        ask()
        assert [request.split()[0] for request in bucket.server.requests] == [method]


def test_what_another_process_removed_is_written_again(place):
    """No listing is kept: it would tell that the body is still there."""
    mine, theirs = place.blobs, place.blobs
    mine.put_raw(KEY, b"body")
    place.make_old(10 * GRACE)
    assert theirs.remove("raw", KEY)
    assert mine.get_raw(KEY) is None
    mine.put_raw(KEY, b"body")
    assert theirs.get_raw(KEY) == b"body"


def test_a_body_that_is_put_again_is_young_again(place):
    place.blobs.put_raw(KEY, b"body")
    place.make_old(10 * GRACE)
    place.blobs.put_raw(KEY, b"body")
    assert not place.blobs.remove("raw", KEY)
    assert place.blobs.get_raw(KEY) == b"body"


def test_a_body_that_was_damaged_is_mended_when_it_is_put_again_whatever_its_size(tmp_path):
    """A loss of power may leave a file of the right size, full of zeros."""
    blobs, body = Blobs(str(tmp_path)), b"the body"
    key = content_hash(body)
    parsed = ParsedDocument("Text", [Element("heading", 0, 4, 1, ("A",))], {"a": 1}, "T")
    for kind, put, get, whole in (
        ("raw", lambda: blobs.put_raw(key, body), lambda: blobs.get_raw(key), body),
        ("parsed", lambda: blobs.put_parsed(key, parsed), lambda: blobs.get_parsed(key), parsed),
    ):
        put()
        file = tmp_path / kind / key[:2] / key
        file.write_bytes(bytes(file.stat().st_size))
        assert get() is None
        put()
        assert get() == whole


def test_an_old_body_that_nobody_put_again_can_be_removed(place):
    blobs = place.blobs
    blobs.put_raw(KEY, b"body")
    blobs.put_raw(OTHER, b"other")
    place.make_old(10 * GRACE)
    assert list(blobs.keys("raw", older_than=0)) == [[KEY]]
    assert blobs.remove("raw", KEY) and not blobs.remove("raw", KEY) and not blobs.remove("raw", OTHER)
    assert blobs.get_raw(KEY) is None


def test_a_body_that_is_swept_while_it_is_put_again_is_written_again(tmp_path, monkeypatch):
    """The other process has found it unused, and removes it after this one saw it; a bucket is written unseen."""
    mine, theirs = Blobs(str(tmp_path)), Blobs(str(tmp_path))
    mine.put_raw(KEY, b"body")
    os.utime(tmp_path / "raw" / KEY[:2] / KEY, (time.time() - 10 * GRACE,) * 2)
    look = mine._about

    def swept_after_the_look(path: str) -> dict[str, Any] | None:
        found = look(path)
        assert theirs.remove("raw", KEY)
        return found

    monkeypatch.setattr(mine, "_about", swept_after_the_look)
    mine.put_raw(KEY, b"body")
    assert theirs.get_raw(KEY) == b"body"


def test_a_body_that_is_put_again_while_it_is_swept_stays(tmp_path, monkeypatch):
    mine, theirs = Blobs(str(tmp_path)), Blobs(str(tmp_path))
    mine.put_raw(KEY, b"body")
    os.utime(tmp_path / "raw" / KEY[:2] / KEY, (time.time() - 10 * GRACE,) * 2)
    look = theirs._about

    def put_after_the_look(path: str) -> dict[str, Any] | None:
        found = look(path)
        mine.put_raw(KEY, b"body")
        return found

    monkeypatch.setattr(theirs, "_about", put_after_the_look)
    assert not theirs.remove("raw", KEY)
    assert mine.get_raw(KEY) == b"body"
    assert [file.name for file in (tmp_path / "raw" / KEY[:2]).iterdir()] == [KEY], "nothing else is left"


def test_two_that_sweep_at_once_don_t_disturb_each_other(place, monkeypatch):
    mine, theirs = place.blobs, place.blobs
    mine.put_raw(KEY, b"body")
    place.make_old(10 * GRACE)
    look = mine._about

    def swept_after_the_look(path: str) -> dict[str, Any] | None:
        found = look(path)
        theirs.remove("raw", KEY)
        return found

    monkeypatch.setattr(mine, "_about", swept_after_the_look)
    mine.remove("raw", KEY)
    assert mine.get_raw(KEY) is None


def test_a_bucket_that_is_not_there_is_no_missing_body(in_bucket):
    """Else every document would be quarantined for a slip in a setting; and no bucket is made in passing."""
    blobs = Blobs("s3://nothing-here/blobs")
    with pytest.raises(ServiceUnavailable, match="the bucket nothing-here does not exist"):
        blobs.get_raw(KEY)
    with pytest.raises(ServiceUnavailable, match="nothing-here"):
        blobs.put_raw(KEY, b"body")


def test_a_bucket_that_refuses_us_or_is_away_says_so(in_bucket, bucket, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # the client's own patience is not under test
    blobs = in_bucket.blobs
    blobs.put_raw(KEY, b"body")
    bucket.server.gate = lambda environ: ("403 Forbidden", [])
    for reach in (lambda: blobs.get_raw(KEY), lambda: blobs.put_raw(OTHER, b"other"), lambda: blobs.remove("raw", KEY)):
        with pytest.raises(ServiceUnavailable, match=r"denied access.*credentials"):
            reach()
    bucket.server.gate = lambda environ: None
    bucket.server.close()
    with pytest.raises(ServiceUnavailable, match="can't be reached"):
        blobs.get_raw(KEY)


def test_a_url_of_an_unknown_kind_is_a_wrong_setting():
    with pytest.raises(SettingsError, match=r"blob\.url is what"):
        Blobs("what://x/y")


@pytest.mark.parametrize("left", [b"", b"bo"])
def test_a_body_that_was_cut_is_written_again_when_it_is_put_again(tmp_path, left: bytes):
    """As a loss of power leaves it."""
    blobs = Blobs(str(tmp_path))
    blobs.put_raw(KEY, b"body")
    (tmp_path / "raw" / KEY[:2] / KEY).write_bytes(left)
    assert blobs.get_raw(KEY) is None
    blobs.put_raw(KEY, b"body")
    assert blobs.get_raw(KEY) == b"body"


@pytest.mark.parametrize("cut", [0, 10])
def test_a_parsed_body_that_was_cut_is_a_miss(tmp_path, cut: int):
    blobs = Blobs(str(tmp_path))
    blobs.put_parsed(KEY, ParsedDocument("Text", [], {}, "T"))
    path = tmp_path / "parsed" / KEY[:2] / KEY
    path.write_bytes(path.read_bytes()[:cut])
    assert blobs.get_parsed(KEY) is None
