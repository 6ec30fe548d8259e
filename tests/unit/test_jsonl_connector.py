"""The connector `jsonl`: BEIR as it is, bad lines by number, places that can be resumed."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semantik_pipeline.builtin.connectors import json_lines, jsonl
from semantik_pipeline.builtin.connectors.json_lines import Fields, leading_id, read_record
from semantik_pipeline.builtin.connectors.jsonl import JsonlConnector
from semantik_pipeline.documents import Checkpoint, Complete, DocumentReference
from semantik_pipeline.errors import DocumentGone, PermanentError, PluginConfigError, SkipDocument, TransientError
from semantik_pipeline.testing.connectors import enumerated, fetched, references


def connector_on(path, text: str | bytes, **config) -> JsonlConnector:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return JsonlConnector({"path": str(path), **config})


def test_beir_needs_no_configuration(tmp_path):
    line = {"_id": "7", "title": "Wing flutter", "text": "At high speed.", "metadata": {"year": 1958}, "authors": ["X"]}
    connector = connector_on(tmp_path / "corpus.jsonl", json.dumps(line))
    document = fetched(connector, references(enumerated(connector))[0])
    assert document.unique_id == "7"
    assert document.content == "Wing flutter\n\nAt high speed."
    assert document.metadata == {"title": "Wing flutter", "year": 1958, "authors": ["X"]}


@pytest.mark.parametrize("line", [{"id": 1, "title": "A b", "text": "A b is it."}, {"id": "1", "text": "A b is it."}])
def test_a_title_is_not_said_twice(tmp_path, line):
    connector = connector_on(tmp_path / "x.jsonl", json.dumps(line))
    assert fetched(connector, references(enumerated(connector))[0]).content == "A b is it."


def test_fields_can_be_named(tmp_path):
    line = {"key": "k", "id": "other", "body": "B", "name": "N"}
    connector = connector_on(
        tmp_path / "x.jsonl", json.dumps(line), id_field="key", text_field="body", title_field="name"
    )
    document = fetched(connector, references(enumerated(connector))[0])
    assert (document.unique_id, document.content, document.metadata) == ("k", "N\n\nB", {"id": "other", "name": "N"})


def test_bad_lines_are_skipped_by_number_and_the_others_go_on(tmp_path):
    lines = [
        '{"id": "a", "text": "x"}',
        "{broken",
        "",
        "[1]",
        '{"id": "b"}',
        '{"id": "e", "text": " "}',
        '{"text": "z"}',
    ]
    path = tmp_path / "x.jsonl"
    connector = connector_on(path, "\r\n".join(lines))
    answers = {}
    for reference in references(enumerated(connector)):
        try:
            answers[reference.unique_id] = fetched(connector, reference).content
        except SkipDocument as answer:
            answers[reference.unique_id] = str(answer)
    assert answers["a"] == "x"
    assert "Line 2 of" in answers[f"{path}#line-2"] and "not valid JSON" in answers[f"{path}#line-2"]
    assert "list" in answers[f"{path}#line-4"]
    assert "'text'" in answers[f"{path}#line-5"]
    assert "no text" in answers["e"]
    assert "z" in answers.values() and len(answers) == 6


def test_an_enumeration_over_bad_lines_is_still_full(tmp_path):
    assert enumerated(connector_on(tmp_path / "x.jsonl", "{bad\n"))[-1] == Complete(full=True)


def test_changed_line_changes_its_hint_and_only_its(tmp_path):
    path = tmp_path / "x.jsonl"
    before = references(enumerated(connector_on(path, '{"id": "a", "text": "1"}\n{"id": "b", "text": "2"}\n')))
    after = references(enumerated(connector_on(path, '{"id": "b", "text": "2"}\n{"id": "a", "text": "3"}\n')))
    hints = [{one.unique_id: one.change_hint for one in those} for those in (before, after)]
    assert hints[0]["b"] == hints[1]["b"] and hints[0]["a"] != hints[1]["a"]


def test_a_changed_file_is_read_from_its_start(tmp_path, monkeypatch):
    monkeypatch.setattr(json_lines, "BATCH_LINES", 1)
    path = tmp_path / "x.jsonl"
    connector = connector_on(path, '{"id": "a", "text": "1"}\n{"id": "b", "text": "2"}\n')
    cursor = next(event.cursor for event in enumerated(connector) if isinstance(event, Checkpoint))
    assert [one.unique_id for one in references(enumerated(connector, cursor))] == ["b"]
    connector = connector_on(path, '{"id": "c", "text": "1"}\n{"id": "d", "text": "2"}\n{"id": "e", "text": "2"}\n')
    assert [one.unique_id for one in references(enumerated(connector, cursor))] == ["c", "d", "e"]


def test_a_line_that_changed_since_it_was_named_is_tried_later(tmp_path):
    path = tmp_path / "x.jsonl"
    connector = connector_on(path, '{"id": "a", "text": "1"}\n')
    (reference,) = references(enumerated(connector))
    connector_on(path, '{"id": "a", "text": "2"}\n')
    with pytest.raises(TransientError, match="changed since line 1"):
        fetched(connector, reference)
    path.unlink()
    with pytest.raises(DocumentGone):
        fetched(connector, reference)


def test_a_bare_id_is_searched_and_the_last_line_wins(tmp_path):
    connector = connector_on(tmp_path / "x.jsonl", '{"id": "a", "text": "1"}\n{"id": "a", "text": "2"}\n')
    assert fetched(connector, DocumentReference("a")).content == "2"
    with pytest.raises(DocumentGone):
        fetched(connector, DocumentReference("b"))


def lines_with(*ids_and_texts: str) -> str:
    """``"a:1"``: a line with the id a and the text 1."""
    pairs = (one.split(":") for one in ids_and_texts)
    return "".join(json.dumps({"id": name, "text": text}) + "\n" for name, text in pairs)


def test_of_lines_with_one_id_the_last_is_named_alone_and_the_id_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(json_lines, "BATCH_LINES", 2)
    path = tmp_path / "x.jsonl"
    connector = connector_on(path, lines_with("a:1", "b:2", "c:3", "c:4", "a:5", "d:6"))
    events = enumerated(connector)
    assert [fetched(connector, one).content for one in references(events)] == ["2", "4", "5", "6"]
    assert events[-1] == Complete(full=True), "an id that is repeated is no line that was not read"
    one, other = connector.problems
    assert "'a' occurs on 2 lines, from line 1 to line 5" in one and "'c' occurs on 2 lines" in other
    for place, event in enumerate(events):
        if isinstance(event, Checkpoint):
            another = JsonlConnector({"path": str(path)})
            assert references(enumerated(another, event.cursor)) == references(events[place:])
    connector_on(path, lines_with("a:1", "b:2"))
    assert [one.unique_id for one in references(enumerated(connector))] == ["a", "b"] and connector.problems == []


def test_of_very_many_repeated_ids_some_are_told(tmp_path):
    ids = [f"id-{number}" for number in range(30)]
    connector = connector_on(tmp_path / "x.jsonl", lines_with(*[f"{one}:{n}" for n in (1, 2) for one in ids]))
    assert len(references(enumerated(connector))) == 30
    assert len(connector.problems) == 21 and connector.problems[-1].startswith("10 more ids")


def test_ids_that_files_share_and_lines_that_are_the_same(tmp_path):
    connector_on(tmp_path / "1.jsonl", lines_with("a:1", "b:2"))
    connector_on(tmp_path / "2.jsonl", lines_with("b:2", "a:3"))
    connector = JsonlConnector({"path": str(tmp_path / "*.jsonl")})
    assert [fetched(connector, one).content for one in references(enumerated(connector))] == ["2", "3"]
    (problem,) = connector.problems
    assert problem.startswith(f"{tmp_path}/2.jsonl: the id 'a'") and f"line 1 of {tmp_path}/1.jsonl" in problem


def test_what_one_enumeration_could_not_read_is_no_affair_of_another(tmp_path):
    """Hosts share an instance among sources of the same configuration."""
    connector = connector_on(tmp_path / "1.jsonl", lines_with("a:1"))
    connector.config["path"] = [str(tmp_path / "1.jsonl"), str(tmp_path / "2.jsonl")]
    (tmp_path / "2.jsonl").write_text(lines_with("b:1"))

    async def both() -> list[Complete]:
        first, other = connector.enumerate(), connector.enumerate()
        await anext(first)
        while getattr(await anext(other), "unique_id", None) != "b":
            pass
        os.utime(tmp_path / "2.jsonl", (1, 1))  # it changes while the other reads it
        return [[event async for event in one][-1] for one in (other, first)]

    assert asyncio.run(both()) == [Complete(full=False), Complete(full=True)]


def test_a_line_beyond_the_limit_is_refused_and_the_next_one_read(tmp_path):
    long = json.dumps({"id": "long", "text": "x" * 500})
    connector = connector_on(tmp_path / "x.jsonl", f'{long}\n{{"id": "b", "text": "2"}}\n', max_bytes=100)
    too_long, fine = references(enumerated(connector))
    with pytest.raises(PermanentError, match=r"Line 1 of .* longer than the limit of 100"):
        fetched(connector, too_long)
    assert fetched(connector, fine).content == "2"
    raised, _ = references(enumerated(JsonlConnector({**connector.config, "max_bytes": 1000})))
    assert (raised.unique_id, raised.change_hint != too_long.change_hint) == ("long", True), "it is read when it may be"


def test_a_pattern_without_files_is_named(tmp_path):
    with pytest.raises(PluginConfigError, match="No file matches"):
        JsonlConnector({"path": str(tmp_path / "*.jsonl")}).validate_config()
    with pytest.raises(PluginConfigError, match="needs a path"):
        JsonlConnector().validate_config()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=20), max_size=12), st.sampled_from(["\n", "\r\n"]))
def test_every_line_is_found_at_its_offset(tmp_path_factory, texts, end):
    path = tmp_path_factory.mktemp("jsonl") / "x.jsonl"
    rows = [json.dumps({"id": str(n), "text": f"t{text}"}, ensure_ascii=False) for n, text in enumerate(texts)]
    # surrogates cannot be written, and JSON leaves these line ends of Unicode unescaped: they end no line here
    connector = connector_on(path, end.join(rows).encode("utf-8", "replace"))
    contents = [fetched(connector, one).content for one in references(enumerated(connector))]
    assert contents == [json.loads(row.encode("utf-8", "replace"))["text"] for row in rows]


NAMES = st.sampled_from(["_id", "id", "uuid", "text", "title", "mine", 'no"id'])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | NAMES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)


@settings(deadline=None)
@given(
    record=st.dictionaries(NAMES, VALUES, max_size=5),
    field=st.sampled_from([None, "mine", 'no"id']),
    ascii_only=st.booleans(),
    layout=st.sampled_from([(",", ":"), (", ", ": "), (" , ", " : ")]),
)
def test_the_id_at_the_beginning_of_a_line_is_that_of_the_parsed_line(record, field, ascii_only, layout):
    fields = Fields(id=field)
    raw = json.dumps(record, ensure_ascii=ascii_only, separators=layout).encode("utf-8", "surrogatepass")
    usable = [
        str(record[name])
        for name in fields.id_names
        if isinstance(record.get(name), str | int) and not isinstance(record[name], bool) and str(record[name]).strip()
    ]
    assert leading_id(raw, fields) in (None, *usable[:1])
    if isinstance(record.get("text"), str) and usable:
        assert read_record(raw, fields).id == usable[0]


@pytest.mark.parametrize(
    ("line", "id_"),
    [
        (b'{"_id":"MED-10","text":"a \\"_id\\" b"}', "MED-10"),
        (b'{ "id" : 17 , "text": ""}', "17"),
        (b'{"id": 0}', "0"),
        (b'{"id": "1", "_id": "2"}', None),
        (b'{"id": "1", "of": {"_id": "2"}}', None),
        (b'{"text": "", "_id": "1"}', None),
        (b'{"_id": "\\u0061"}', None),
        (b'{"_id": "  "}', None),
        (b'{"_id": 1.5}', None),
        (b'{"_id": true}', None),
        ('{"_id": "ä"}'.encode(), None),
    ],
)
def test_a_line_that_begins_with_its_id_needs_no_parsing_for_it(line, id_):
    assert leading_id(line, Fields()) == id_


def test_of_a_line_that_names_its_id_twice_the_first_counts(tmp_path):
    """Both passes must read the same one, or repeated ids are not noticed."""
    text = '{"_id": "a", "_id": "b", "text": "1"}\n{"_id": "a", "text": "2"}\n'
    connector = connector_on(tmp_path / "x.jsonl", text)
    assert [(one.unique_id, fetched(connector, one).content) for one in references(enumerated(connector))] == [
        ("a", "2")
    ]


def test_lines_that_begin_with_their_id_are_not_parsed_to_find_repeats(tmp_path, monkeypatch):
    parsed = []
    connector = connector_on(tmp_path / "x.jsonl", lines_with("a:1", "b:2") + '{"text": "3"}\n')
    read = jsonl.read_record
    monkeypatch.setattr(jsonl, "read_record", lambda raw, fields: parsed.append(raw) or read(raw, fields))
    assert len(references(enumerated(connector))) == 3
    assert len(parsed) == 3 + 1


def test_cranfield_reads_whole():
    data = Path(os.environ.get("SEMANTIK_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")
    if not (data / "cranfield").is_dir():
        pytest.skip(f"no test data at {data}")
    events = enumerated(JsonlConnector({"path": str(data / "cranfield" / "corpus.jsonl")}))
    assert len({one.unique_id for one in references(events)}) == 1400
