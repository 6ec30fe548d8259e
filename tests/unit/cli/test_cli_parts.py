"""The pure parts of the command line: arguments, wording, pace, snippets."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import string
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from semantik_pipeline.cli.arguments import GLOBAL_OPTIONS, globals_first, wants_json
from semantik_pipeline.cli.audit import pairs
from semantik_pipeline.cli.failures import describe
from semantik_pipeline.cli.hits import show_hits, snippet
from semantik_pipeline.cli.invocation import Invocation
from semantik_pipeline.cli.output import Output
from semantik_pipeline.cli.pace import Pace, measured, sample, since_start
from semantik_pipeline.cli.questions import parse_filter, postprocessors_in
from semantik_pipeline.cli.search import nothing_found
from semantik_pipeline.cli.wording import as_argument, counted, duration, place, printable, reason_of, size, states
from semantik_pipeline.configurations import parse_changes
from semantik_pipeline.documents import Highlight, Passage, Span
from semantik_pipeline.errors import ServiceUnavailable, UsageError
from semantik_pipeline.ledger.operations.lifecycle import Progress
from semantik_pipeline.search import SearchAnswer, SearchQuery
from semantik_pipeline.testing.postprocessing import make_hit

WORDS = st.text(string.ascii_lowercase, min_size=1, max_size=6)
GLOBALS = st.sampled_from([["--json"], ["--verbose"], ["--data-dir", "d"], ["--config=c"]])


@given(st.lists(st.one_of(WORDS.map(lambda word: [word]), GLOBALS), max_size=8), st.lists(WORDS, max_size=3))
def test_globals_come_first_and_nothing_else_moves(parts, literal):
    argv = [word for part in parts for word in part]
    moved = globals_first([*argv, "--", *literal, "--json"])
    front = [word for part in parts if part[0].startswith("--") for word in part]
    rest = [word for part in parts if not part[0].startswith("--") for word in part]
    assert moved == [*front, *rest, "--", *literal, "--json"]
    assert globals_first(moved) == moved
    assert wants_json([*argv, "--", "--json"]) == ("--json" in argv)


@pytest.mark.parametrize("option", [name for name, takes_value in GLOBAL_OPTIONS.items() if takes_value])
def test_a_global_option_without_its_value_is_named(option):
    with pytest.raises(UsageError, match=option):
        globals_first(["search", "x", option])
    with pytest.raises(UsageError, match=r"--json.* looks like an option"):
        globals_first(["search", "x", option, "--json"])


@given(st.text(st.characters(), max_size=40))
def test_printable_is_one_line_of_what_a_terminal_can_show(text):
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert not any(
        c < " " or "\x7f" <= c <= "\x9f" or "\ud800" <= c <= "\udfff" or "\u202a" <= c <= "\u202e" for c in shown
    )
    shown.encode("utf-8")


@pytest.mark.parametrize("levels", [65, 900, 100_000])
@pytest.mark.parametrize(("before", "after"), [("[", "]"), ('{"must":', "}")])
def test_a_filter_that_is_too_deep_is_refused(levels, before, after):
    with pytest.raises(UsageError, match="levels of JSON"):
        parse_filter(before * levels + "[]" + after * levels)


def test_names_and_reasons_read_well(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert place(f"file://{tmp_path}/a%20b/%FF.txt") == "a b/\\xff.txt"
    assert place("mail:<1@host>") == "mail:<1@host>"
    assert reason_of("file:///x/a.pdf", "chunk: /x/a.pdf needs a password.") == "needs a password"
    assert (counted(1, "query"), counted(1204, "query"), counted(2, "document")) == (
        "1 query",
        "1,204 queries",
        "2 documents",
    )
    assert [duration(s) for s in (0.84, 42, 125, 4200)] == ["0.8 s", "42 s", "2 min 5 s", "1 h 10 min"]
    assert [size(b) for b in (12, 14_179, 123_456_789, 5e12)] == ["12 B", "14.2 kB", "123 MB", "5000 GB"]


@given(
    st.lists(WORDS, min_size=1, max_size=200), st.sets(st.integers(0, 199), max_size=9), st.integers(20, 120), st.data()
)
def test_a_snippet_fits_and_is_of_the_text_and_its_marks_with_it(words, numbers, width, data):
    text = data.draw(st.sampled_from([" ", "\n\t "])).join(words)
    spans = [(found.start(), found.end()) for found in re.finditer(r"\S+", text)]
    marks = [Highlight(*spans[number], "x") for number in sorted(numbers) if number < len(spans)]
    passage = data.draw(st.none() | st.sampled_from([Span(start, len(text)) for start, _ in spans]))
    hit = replace(make_hit(1, text), highlights=marks, passage=passage)
    shown, places = snippet(hit, width)
    assert len(shown) <= width
    assert shown.strip("…").strip() in " ".join(words)
    known = [" ".join(text[one.start : one.end].split()) for one in marks]
    for mark in places:
        assert shown[mark.start : mark.end] in known
    if len(" ".join(words)) <= width:
        assert len(places) == len(marks)


def test_a_snippet_begins_where_the_best_passage_does():
    text = "nothing. " * 100 + "A lease expires at last. " + "nothing. " * 100
    shown, _ = snippet(replace(make_hit(1, text), passage=Span(900, 924)), 80)
    assert shown.startswith("…A lease expires")


def test_what_a_terminal_would_obey_is_shown_as_it_is_written():
    text = "red \x1b[31mlease [bold]x[/bold]"
    shown, (mark,) = snippet(replace(make_hit(1, text), highlights=[Highlight(9, 14, "lease")]), 200)
    assert shown == "red \\x1b[31mlease [bold]x[/bold]"
    assert shown[mark.start : mark.end] == "lease"


def hit_lines(hit) -> str:
    """What a terminal of 60 columns shows, its codes included."""
    console = Console(file=io.StringIO(), force_terminal=True, width=60, color_system="standard", legacy_windows=False)
    show_hits(console, SearchAnswer(hits=[hit]), None)
    return console.file.getvalue()


def test_people_see_marks_in_bold_and_all_that_is_beside_a_hit():
    text = "A lease expires. [red]Not this."
    hit = replace(
        make_hit(1, text, document="file:///notes/a.md", page=3),
        highlights=[Highlight(2, 7, "lease")],
        context_before=[Passage("What was before.", 0, 16, 0)],
        context_after=[Passage("And what is after.", 50, 68, 2)],
        grouped_hits=[replace(make_hit(2, "another lease", page=4), highlights=[Highlight(8, 13, "lease")])],
        duplicates=["file:///notes/b.md", "c", "d", "e"],
    )
    shown = hit_lines(hit)
    assert "A \x1b[1;33mlease\x1b[0m expires. [red]Not this." in shown
    assert "another \x1b[1;33mlease\x1b[0m" in shown
    plain = re.sub("\x1b\\[[0-9;]*m", "", shown).splitlines()
    assert [line.strip() for line in plain[:7]] == [
        "1. /notes/a.md  page 3  0.500",
        "What was before.",
        text,
        "And what is after.",
        "+ page 4  0.333",
        "another lease",
        "same text in /notes/b.md, c, d and 1 more",
    ]


@pytest.mark.parametrize(
    ("given", "entries"),
    [
        (None, None),
        (["highlight"], ["highlight"]),
        (
            ["dedupe, highlight", "group:k=2,score=best"],
            ["dedupe", "highlight", {"plugin": "group", "options": {"k": 2, "score": "best"}}],
        ),
        (["none"], []),
    ],
)
def test_postprocessors_on_the_command_line(given, entries):
    assert postprocessors_in(given) == entries


def test_an_option_without_a_value_is_refused():
    with pytest.raises(UsageError, match="KEY=VALUE"):
        postprocessors_in(["group:k"])


def progress(at: int, *, reading: int = 0) -> Progress:
    """A hundred documents of two chunks each; one is indexed every second, the next twenty are being embedded."""
    return Progress(
        operation_id=1, kind="sync", state="running", outcome=None, result=None, sources_running=reading,
        seen=100, stages={"indexed": at, "embed": 100 - at}, chunks=200, chunks_embedded=2 * at, errors=[],
    )  # fmt: skip


def test_the_pace_foretells_only_what_it_can_know():
    pace = Pace()
    for at in range(9):
        pace.add(sample(float(at), progress(at)))
    assert pace.seconds_left() is None  # too short a time
    for at in range(9, 21):
        pace.add(sample(float(at), progress(at)))
    assert pace.chunks_per_second == pytest.approx(2.0)
    assert pace.seconds_left() == pytest.approx(80.0)
    pace.add(sample(21.0, progress(21, reading=1)))
    assert pace.seconds_left() is None  # documents are still being found
    stalled = Pace()
    for at in (0.0, 20.0):
        stalled.add(sample(at, progress(5)))
    assert stalled.seconds_left() is None
    assert Pace().chunks_per_second == 0.0


@given(documents=st.integers(2, 500), chunks=st.integers(2, 5000), embedded=st.integers(1, 5000))
@example(documents=100, chunks=1797, embedded=25)
def test_nothing_is_foretold_from_a_standstill(documents: int, chunks: int, embedded: int) -> None:
    """However the shares are rounded."""
    stages = {"indexed": 1, "embed": documents - 1}
    still = replace(progress(0), stages=stages, chunks=chunks, chunks_embedded=min(embedded, chunks - 1))
    pace = Pace()
    for at in (0.0, 31.0):
        pace.add(sample(at, still))
    assert pace.seconds_left() is None


def test_nothing_is_foretold_of_no_documents() -> None:
    """A worker has come, and does not read the source yet."""
    pace = Pace()
    for at in (0.0, 31.0):
        pace.add(sample(at, replace(progress(0), seen=0, stages={}, chunks=0)))
        assert pace.seconds_left() is None


def test_the_bottleneck_is_the_stage_that_needs_longest_and_one_look_is_enough():
    look = replace(progress(20), age=20.0)
    pace = since_start(look)
    assert pace.bottleneck() == ("embed", pytest.approx(80.0))
    found = measured(look, pace)
    assert (found["bottleneck"], found["seconds_left"]) == ("embed", pytest.approx(80.0))
    assert found["stages"]["embed"] == {"done": 20, "waiting": 80, "per_second": 1.0}
    assert found["stages"]["chunk"]["done"] == found["documents"] == 100
    for stopped in (replace(look, state="paused"), replace(look, reason="nobody can")):
        assert measured(stopped, since_start(stopped))["seconds_left"] is None
    slower = replace(progress(20), age=20.0, stages={"indexed": 10, "upsert": 10, "embed": 80})
    assert since_start(slower).bottleneck() == ("upsert", pytest.approx(180.0))


def test_nothing_is_foretold_from_a_beginning():
    """A model loads for 15 seconds, and then a document is embedded each second."""
    pace = Pace()
    for at in range(25):
        pace.add(sample(float(at), progress(max(0, at - 15))))
        assert pace.seconds_left() is None
    pace.add(sample(25.0, progress(10)))
    assert pace.seconds_left() == pytest.approx(90.0)
    slow = replace(progress(1), age=20.0)
    assert since_start(slow).bottleneck() is None  # one of a hundred
    assert since_start(replace(slow, age=30.0)).bottleneck() == ("embed", pytest.approx(2970.0))


def test_documents_that_are_found_meanwhile_are_no_standstill():
    pace = Pace()
    few = replace(progress(0, reading=1), stages={"indexed": 5, "embed": 5}, chunks=20, chunks_embedded=10)
    pace.add(sample(0.0, few))
    pace.add(sample(20.0, progress(25)))
    assert pace.seconds_left() == pytest.approx(75.0)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)))
def test_option_values_are_json_where_they_can_be(value):
    assert parse_changes([f"key={json.dumps(value)}"]) == {"key": value}


def test_other_option_values_are_text():
    assert parse_changes(["model=a/b=c"]) == {"model": "a/b=c"}
    with pytest.raises(UsageError, match="not KEY=VALUE"):
        parse_changes(["=3"])


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENAMETOOLONG, errno.ENOSPC, errno.EROFS])
def test_what_the_system_refuses_is_told_with_the_file_and_a_way_out(number):
    report = describe(OSError(number, os.strerror(number), "/srv/papers"))
    assert report.message == f"/srv/papers: {os.strerror(number)}."
    assert report.hint and not report.unforeseen
    assert len(report.lines(verbose=False)) == 2


@pytest.mark.parametrize(
    ("has", "told"),
    [
        (True, "matches both the query and the filter"),
        (False, "No document has the field 'page'."),
        (None, "matches both"),
    ],
)
def test_what_a_filter_looks_for_is_named_if_no_document_has_it(has: bool | None, told: str) -> None:
    """``has`` None: the model can't embed now, which must not fail a search by words."""

    def finds(probe: SearchQuery) -> bool:
        assert probe.filter == {"must_not": [{"is_empty": {"key": "page"}}]}
        if has is None:
            raise ServiceUnavailable("The endpoint does not answer.")
        return has

    asked = SearchQuery(text="lease", mode="sparse", filter={"must": [{"key": "page", "match": {"value": 7}}]})
    assert told in nothing_found(Invocation(output=Output(as_json=False)), asked, 3, finds)


def test_a_documents_name_can_be_typed_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert as_argument(f"file://{tmp_path}/notes/a%20b.md") == "'notes/a b.md'"
    assert as_argument("file:///elsewhere/a.md") == "/elsewhere/a.md"
    assert as_argument("mail:<1@host>") == "'mail:<1@host>'"


def test_counts_and_reasons_are_words():
    assert states({"indexed": 1204, "chunk": 3}) == "3 waiting for chunk, 1,204 indexed"
    assert reason_of("file:///x/a.pdf", "chunk: /x/a.pdf is damaged: no reader.") == "damaged: no reader"
    assert reason_of("mail:1", "embed: The server is busy. Try again.") == "The server is busy. Try again."


def test_details_of_the_audit_log_are_pairs():
    detail = {"source": 1, "full": False, "config": {"path": "/srv/notes", "include": ["a", "b"]}, "schedule": None}
    assert list(pairs(detail)) == ["source=1", "config.path=/srv/notes", "config.include=a|b"]
    assert list(pairs({"chunk": [{"plugin": "patterns"}]})) == ["chunk=1"]
