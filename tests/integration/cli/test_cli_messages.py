"""What a person reads after a common slip, or in the answers that every new user sees: plain words and a next step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.cli.conftest import CommandLine


def told(done, code: int) -> list[str]:
    """The lines of standard error of a command that ended with this code."""
    assert done.code == code, done.out + done.err
    return done.err.splitlines()


def test_a_worker_without_a_fleet_says_what_a_fleet_needs(cli: CommandLine) -> None:
    assert told(cli("worker"), 2) == [
        "error: `semantik worker` needs a fleet, and none is configured.",
        "  Set SEMANTIK_BROKER_URL, SEMANTIK_DATABASE_URL and SEMANTIK_QDRANT_URL. On one machine use `semantik "
        "serve`.",
    ]
    part = {"SEMANTIK_DATABASE_URL": "postgresql://db/s", "SEMANTIK_BROKER_URL": "redis://broker"}
    message, hint = told(cli("worker", **part), 2)
    assert "only part of one" in message and hint.startswith("  Set SEMANTIK_QDRANT_URL. ")


@pytest.mark.parametrize("url", ["foo", "ftp://host", "http://", "http://[::1"])
def test_what_is_not_a_url_is_wrong_usage(cli: CommandLine, url: str) -> None:
    [line] = told(cli("status", "--url", url), 2)
    assert line.endswith(" is not a URL; write http://HOST:PORT.") and "'" in line


def test_a_server_that_is_not_there_is_to_be_started(cli: CommandLine) -> None:
    assert told(cli("status", "--url", "http://127.0.0.1:9"), 1) == [
        "error: The server at http://127.0.0.1:9 does not answer: Connection refused.",
        "  Start one with `semantik serve`, or check the address.",
    ]


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        (["--limit", "0"], "--limit 0 is out of range.", "Choose a limit from 1 to 1000."),
        (["--limit", "1001"], "--limit 1001 is out of range.", "Choose a limit from 1 to 1000."),
        (["--dense-weight", "2"], "--dense-weight 2 is out of range.", "Give a number from 0 to 1."),
        (["--rerank-weight", "-0.5"], "--rerank-weight -0.5 is out of range.", "Give a number from 0 to 1."),
        (
            ["--filter", '{"mustt": []}'],
            "Unknown filter key 'mustt'.",
            "Did you mean 'must'? Allowed: must, should, must_not",
        ),
        (["--mode", "foo"], "Invalid value for '--mode': 'foo' is not one of", "See `semantik search --help`."),
    ],
)  # fmt: skip
def test_an_option_out_of_range_says_its_range(
    indexed: CommandLine, options: list[str], message: str, hint: str
) -> None:
    first, second = told(indexed("search", "lease", *options), 2)
    assert first.startswith(f"error: {message}") and "Value error" not in first
    assert second.startswith(f"  {hint}")


def test_words_without_quotes_are_one_query(indexed: CommandLine) -> None:
    quoted = indexed("search", "when does a lease expire", "--json").json()
    plain = indexed("search", "when", "does", "a", "lease", "--json", "expire").json()
    assert [(hit["document"], hit["score"]) for hit in plain["hits"]] == [
        (hit["document"], hit["score"]) for hit in quoted["hits"]
    ]


def test_a_query_that_starts_with_a_hyphen_needs_two_before_it(indexed: CommandLine) -> None:
    message, hint = told(indexed("search", "-draft"), 2)
    assert message == "error: No such option: -d"
    assert "needs `--` before it, as in `semantik search -- -draft`" in hint
    assert indexed("search", "--", "-draft").code == 0
    assert told(indexed("search", "x", "--nope"), 2)[1] == "  See `semantik search --help`."


def test_a_filter_on_a_field_that_no_document_has_names_the_field(indexed: CommandLine) -> None:
    wrong = {"must": [{"key": "nofield", "match": {"value": 1}}, {"key": "media_type", "match": {"value": "no/such"}}]}
    out = indexed("search", "lease", "--filter", json.dumps(wrong)).out
    assert "No document has the field 'nofield'." in out and "'media_type'" not in out


def test_sources_are_named_as_filters_match_them(cli: CommandLine, papers: Path) -> None:
    cli("index", papers)
    assert f" {papers} " in cli("sources", "list").out
    assert cli("operations", "list").out.rstrip().endswith(str(papers))
    assert f"source      {papers}\n" in cli("documents", "show", "leases.md").out
    by_name = json.dumps({"must": [{"key": "source", "match": {"value": str(papers)}}]})
    assert len(cli("search", "lease", "--filter", by_name, "--json").json()["hits"]) == 2


def test_a_broken_document_is_told_in_a_line_with_the_command_that_says_more(cli: CommandLine, papers: Path) -> None:
    done = cli("index", papers)
    assert "  ~/papers/broken.pdf: damaged: no PDF reader can open it (" in done.out
    assert f"  Why: semantik documents show {papers}/broken.pdf\n" in done.out
    listed = cli("documents", "list", "--status", "quarantined").out
    assert "chunk: " not in listed and " damaged: no PDF" in listed
    shown = cli("documents", "show", "broken.pdf")
    assert "Traceback" not in shown.out and "--verbose shows it" in shown.out
    assert "Traceback (most recent call last)" in cli("documents", "show", "broken.pdf", "--verbose").out
    assert "Traceback" in json.dumps(cli("documents", "show", "broken.pdf", "--json").json())
    (papers / "again.pdf").write_bytes(b"%PDF-1.7\nnothing\n")
    assert "Why: semantik documents show NAME\n" in cli("index", papers).out


def test_an_unknown_connector_lists_connectors_only(cli: CommandLine, papers: Path) -> None:
    message, hint = told(cli("index", papers, "--connector", "nope"), 2)
    assert message == "error: There is no connector plugin 'nope'."
    assert "directory" in hint and "cross-encoder" not in hint and "text" not in hint


def test_what_is_not_a_page_is_not_shown_as_a_pattern(cli: CommandLine) -> None:
    [line] = told(cli("sources", "add", "web", "notaurl"), 2)
    assert line.endswith(": 'notaurl' is not a URL; write https://HOST/PATH.")


def test_a_wrong_option_of_a_collection_says_its_range(cli: CommandLine) -> None:
    assert cli("collections", "create", "notes").code == 0
    message, hint = told(cli("collections", "configure", "notes", "chunking.max_tokens=abc"), 2)
    assert "expected a whole number, found 'abc'" in message
    assert hint == "  Give a whole number of 1 or more. The default is 200."


def test_a_model_that_is_nowhere_says_where_it_was_looked_for(cli: CommandLine) -> None:
    message, hint = told(cli("models", "where", "nope/model"), 1)
    assert "Looked in: (1) a folder nope/model with a config.json, (2) the models folder " in message
    assert hint.startswith("  Try one of: semantik models pull nope/model; ")


def test_a_fleet_that_is_not_configured_has_no_table_of_zeros(cli: CommandLine, papers: Path) -> None:
    cli("index", papers)
    out = cli("fleet", "status").out
    assert "No fleet is configured." in out and "In use by: no process" in out
    assert "STAGE" not in out


def test_status_names_the_process_that_uses_the_data_folder(cli: CommandLine) -> None:
    assert "in use by    no process\n" in cli("status").out


def test_the_audit_log_is_summarised(cli: CommandLine, papers: Path) -> None:
    cli("index", papers)
    out = cli("audit").out
    assert "{" not in out and "operation=1" in out and "allow_deletions" not in out
    assert "--json prints the details in full." in out
    assert any(entry["detail"].get("config") for entry in cli("audit", "--json").json()["entries"])


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("SEMANTIK_WORK_LEAS", "Did you mean SEMANTIK_WORK_LEASE?"),
        ("SEMANTIK_LOG_LEVEL", "Did you mean SEMANTIK_LOGS_LEVEL?"),
        ("SEMANTIK_FOO", "config/semantik.toml lists every setting."),
    ],
)
def test_an_unknown_variable_names_the_nearest_setting(cli: CommandLine, name: str, hint: str) -> None:
    assert told(cli("status", **{name: "3"}), 2) == [f"error: {name} is not a setting.", f"  {hint}"]


def test_a_variable_that_must_be_json_says_so(cli: CommandLine) -> None:
    message, hint = told(cli("status", SEMANTIK_API_AUTH="proxy-header"), 2)
    assert message == "error: The value of SEMANTIK_API_AUTH is not JSON." and '["one", "two"]' in hint


def test_a_number_out_of_range_is_told_in_plain_words(cli: CommandLine) -> None:
    message, _ = told(cli("trash", "--limit", "0"), 2)
    assert message.startswith("error: Invalid value for '--limit': ") and "Input should" not in message
