"""``semantik sources``, ``audit`` and ``scheduler`` as a person types them."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from tests.integration.cli.conftest import CommandLine


def test_the_life_of_a_source(cli: CommandLine, papers: Path) -> None:
    (papers / "broken.pdf").unlink()
    added = cli("sources", "add", "directory", papers, "--every", "15m", "--jitter", "30s", "--json").json()
    assert (added["name"], added["collection"], added["state"]) == (str(papers), "default", "due")
    assert added["schedule"] == {"every": 900.0, "jitter": 30.0}
    done = cli("sources", "sync", "papers", "--wait", "--json")
    assert done.code == 0, done.err
    (answer,) = done.json()["sources"]
    assert (answer["operation"], answer["outcome"], answer["documents"]["new"]) == ("sync-1", "succeeded", 2)
    listed = cli("sources", "list")
    assert listed.out.splitlines()[0].split()[:3] == ["ID", "NAME", "CONNECTOR"]
    assert "every 15m, jitter 30s" in listed.out
    assert " s ago" in listed.out

    assert cli("sources", "pause", "1", "--reason", "the disk moves").code == 0
    refused = cli("sources", "sync", "1")
    assert (refused.code, refused.err.splitlines()[0]) == (
        2,
        f"error: The source {papers} is paused: the disk moves.",
    )
    assert "paused: the disk moves" in cli("sources", "list").out
    assert cli("sources", "resume", "papers", "--json").json()["paused_reason"] is None

    changed = cli(
        "sources", "set", "1", "--set", "include=*.md", "--cron", "0 3 * * *", "--weight", "2", "--json"
    ).json()
    assert changed["config"] == {"path": str(papers), "include": ["*.md"]}
    assert changed["schedule"] == {"cron": "0 3 * * *", "timezone": "UTC", "jitter": 30.0}
    assert changed["weight"] == 2.0
    assert cli("sources", "set", "1", "--no-schedule", "--unset", "include", "--json").json()["next_sync_at"] is None

    removed = cli("sources", "remove", "papers")
    assert removed.out.strip().endswith("delete-2 removed it and 3 documents from the index.")
    assert cli("sources", "list", "--json").json() == {"sources": []}
    trail = cli("audit", "--json").json()["entries"]
    events = ["remove", "set", "set", "resume", "pause", "sync", "add"]
    # the collection came with its first source
    assert [entry["event"] for entry in trail] == [*(f"source.{event}" for event in events), "collection.create"]
    latest = cli("audit", "--limit", "2", "--since", "1h").out
    assert latest.count(" source.") == 2 and "Only the latest 2 are shown" in latest


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("add", "directory", "nowhere"), "nowhere does not exist."),
        (("add", "nope", "x"), "There is no connector plugin 'nope'."),
        (("add", "jsonl", "--name", "x"), "The connector 'jsonl' needs the option 'path'."),
        (("add", "fake-connector"), "The source needs a name."),
        (("add", "fake-connector", "--name", "x", "--set", "hints=perhaps"), "expected true or false, found 'perhaps'"),
        (("add", "fake-connector", "--name", "x", "--set", "colour=red"), "has no option 'colour'"),
        (("add", "fake-connector", "--name", "x", "--set", "colour"), "'colour' is not KEY=VALUE."),
        (("add", "fake-connector", "--name", "x", "--config-json", "[1]"), "--config-json is not a JSON object."),
        (("add", "fake-connector", "--name", "x", "--every", "15"), "'15' is not a duration."),
        (("add", "fake-connector", "--name", "x", "--cron", "0 25 * * *"), "'0 25 * * *' is not valid: Bad hour."),
        (("add", "fake-connector", "--name", "x", "--timezone", "UTC"), "needs a schedule"),
        (("add", "fake-connector", "--name", "x", "--weight", "0"), "The weight 0 is not valid."),
        (("add", "directory", " "), "The path or URL after the connector is empty."),
        (("add", "web", "localhost:80"), "'localhost:80' is not a URL; write https://HOST/PATH."),
        (("add", "web", "ftp://example.org/"), "'ftp://example.org/' is not an http or https URL"),
        (("add", "web", "--name", "x", "--set", "max_pages=5"), "needs one of the options start_urls, sitemaps."),
        (("add", "s3", "s3://papers/notes"), "is not valid: 's3://papers/notes'"),
        (("add", "s3", "papers", "--set", "endpoint_url=localhost:9000"), "'localhost:9000' is not a URL"),
        (("add", "git", ""), "The path or URL after the connector is empty."),
        (("add", "fake-connector", "--name", ""), "'' can't be the name of a source."),
        (("add", "fake-connector", "--name", " "), "' ' can't be the name of a source."),
        (("add", "fake-connector", "--name", "a\nb"), "can't be the name of a source."),
        (("add", "fake-connector", "--name", "x" * 2001), f"{'x' * 40}…' can't be the name of a source."),
        (("add", "fake-connector", "--name", "x", "--config-json", ""), "--config-json is not valid JSON"),
        (("add", "fake-connector", "--name", "x", "--every", "99999999999d"), "longer than ten years"),
        (("add", "fake-connector", "--name", "x", "--cron", "0 3 * * *", "--jitter", "4000d"), "ten years"),
        (("add", "fake-connector", "--name", "x", "--cron", "0 3 * * *", "--timezone", ""), "time zone is empty"),
        (("add", "keyword", "x"), "There is no connector plugin 'keyword'."),
        (("show", "nobody"), "There is no source 'nobody'."),
        (("list", "--collection", "nobody"), "There is no collection 'nobody'."),
    ],
)
def test_bad_input_is_one_line_that_names_the_field(cli: CommandLine, arguments: tuple, complaint: str) -> None:
    result = cli("sources", *arguments)
    assert result.code == 2
    assert complaint in result.err.splitlines()[0]
    assert result.out == ""


def test_what_says_nothing_changes_nothing(cli: CommandLine) -> None:
    assert cli("sources", "add", "fake-connector", "--name", "notes", "--set", "hints=true").code == 0
    before = cli("sources", "show", "notes", "--json").json()["config"]
    for arguments, complaint in (
        (("set", "notes", "--name", ""), "'' can't be the name of a source."),
        (("set", "notes", "--unset", "colour"), "The source has no option 'colour'."),
        (("set", "notes", "--config-json", ""), "--config-json is not valid JSON"),
        (("pause", "notes", "--reason", " "), "The reason of the pause is empty."),
    ):
        refused = cli("sources", *arguments)
        assert (refused.code, refused.out) == (2, ""), arguments
        assert complaint in refused.err.splitlines()[0]
    after = cli("sources", "show", "notes", "--json").json()
    assert (after["config"], after["name"], after["state"]) == (before, "notes", "idle")


def test_an_option_has_the_type_that_the_schema_says(cli: CommandLine) -> None:
    typed = ("--set", "removed=a", "--set", "removed=b", "--set", "fail_after=3", "--set", "media_type=7")
    more = ("--config-json", json.dumps({"documents": {"a": "alpha"}}))
    added = cli("sources", "add", "fake-connector", "--name", "fake", *typed, *more, "--json").json()
    assert added["config"] == {
        "documents": {"a": "alpha"},
        "removed": ["a", "b"],
        "fail_after": 3,
        "media_type": "7",
    }


def test_a_sync_that_fails_says_so_and_is_shown(cli: CommandLine) -> None:
    cli("sources", "add", "fake-connector", "--name", "fake", "--set", "documents_file=/nowhere.json")
    failed = cli("sources", "sync", "fake", "--wait", SEMANTIK_WORK_MAX_ATTEMPTS="1")
    assert failed.code == 1
    assert "No such file or directory: '/nowhere.json'" in failed.out
    shown = cli("sources", "list").out
    assert "failing ×1: " in shown
    assert "/nowhere.json" in shown


def test_the_scheduler_syncs_what_is_due_until_it_is_stopped(cli: CommandLine, papers: Path) -> None:
    (papers / "broken.pdf").unlink()
    cli("sources", "add", "directory", papers, "--every", "1h")
    scheduler = cli.start("scheduler")
    try:
        until = time.monotonic() + 60
        while (found := cli("sources", "list", "--json").json()["sources"][0])["documents"] < 3:
            assert time.monotonic() < until, found
    finally:
        scheduler.send_signal(signal.SIGTERM)
        _, err = scheduler.communicate(timeout=60)
    assert scheduler.returncode == 0, err
    assert found["next_sync_at"] > found["now"]
    assert b"Traceback" not in err
