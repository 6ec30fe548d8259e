"""What a person types after ``sources add CONNECTOR``: a place, a path or neither, and the name that comes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from semantik_pipeline.cli.source_options import place_value, source_name
from semantik_pipeline.errors import UsageError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with files that are called like other places."""
    monkeypatch.chdir(tmp_path)
    for name in ("papers", "mail.example"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("connector", "option", "text"),
    [
        ("s3", "bucket", "papers"),
        ("imap", "host", "mail.example"),
        ("web", "start_urls", "mail.example"),
        ("other", "url", "papers"),
        ("git", "url", "https://host/papers.git"),
        ("git", "url", "git@host:team/papers"),
        ("git", "url", "host:papers"),
    ],
)
def test_what_is_no_path_stays_as_it_is(connector: str, option: str, text: str) -> None:
    assert place_value(connector, option, text, here=True) == text


@pytest.mark.parametrize(("connector", "option"), [("directory", "path"), ("jsonl", "path"), ("git", "url")])
def test_a_path_is_absolute_and_must_exist_where_it_is_read(connector: str, option: str, here: Path) -> None:
    assert place_value(connector, option, "papers", here=True) == str(here / "papers")
    assert place_value(connector, option, "./odd:name/../papers", here=False) == str(here / "odd:name/../papers")
    with pytest.raises(UsageError, match="nowhere does not exist"):
        place_value(connector, option, "nowhere", here=True)
    assert place_value(connector, option, "nowhere", here=False) == str(here / "nowhere")


def test_two_accounts_of_one_server_have_two_names() -> None:
    config = {"host": "mail.example", "username": "ann@mail.example", "port": 1143}
    assert source_name("imap", "host", "mail.example", config) == "imap://ann%40mail.example@mail.example:1143"
    assert source_name("imap", "host", "mail.example", {"username": "bob"}) == "imap://bob@mail.example"
    assert source_name("s3", "bucket", "papers", {"bucket": "papers", "username": "bob"}) == "papers"
