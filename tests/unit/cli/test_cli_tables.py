"""Tables of the command line: they fit a narrow terminal, and are whole where there is none."""

from __future__ import annotations

from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from semantik_pipeline.cli import fleet_views, operation_views, source_views
from semantik_pipeline.cli.tables import fitting
from semantik_pipeline.cli.wording import roughly

SOURCE = {
    "id": 1,
    "name": "/srv/handbook/of/the/whole/house",
    "connector": "directory",
    "collection": "default",
    "schedule": {"every": 900.0},
    "now": 10_000.0,
    "next_sync_at": 10_840.0,
    "last_sync_at": 9_940.0,
    "retry_at": None,
    "documents": 1_204,
    "quarantined": 0,
    "consecutive_failures": 0,
    "last_error": None,
    "paused_reason": None,
    "attempts": 0,
    "state": "idle",
}

OPERATION = {
    "operation": "sync-12",
    "state": "finished",
    "outcome": "succeeded",
    "reason": None,
    "collection": "default",
    "documents": 14,
    "result": {"documents": {"seen": 14}},
    "created_at": 10_000.0,
    "seconds": 3_700.0,
    "sources": [{"source": "/srv/handbook/of/the/whole/house"}, {"source": "notes"}],
}


def shown(show, width: int) -> list[str]:
    console = Console(file=StringIO(), width=width)
    show(console)
    return console.file.getvalue().splitlines()


def sources_shown(width: int, **changes) -> list[str]:
    return shown(lambda console: source_views.show_list(console, [{**SOURCE, **changes}], ""), width)


def test_sources_fit_eighty_columns_and_are_whole_where_there_is_no_terminal():
    [header, row] = sources_shown(100_000)
    assert header.split()[:5] == ["ID", "NAME", "CONNECTOR", "COLLECTION", "SCHEDULE"]
    assert "/srv/handbook/of/the/whole/house" in row and "every 15m" in row and "1,204" in row
    failing = {"state": "failing", "consecutive_failures": 3, "last_error": {"message": "the server said no " * 9}}
    for changes in ({}, failing, {"name": "資料" * 30}, {"quarantined": 1_012, **failing}):
        for width in (80, 100, 120, 160):
            [header, row] = sources_shown(width, **changes)
            assert max(map(cell_len, (header, row))) <= width, (width, row)
            assert [part for part in ("in 14 min", "60 s ago") if part in row] == ["in 14 min", "60 s ago"]
            assert ("1,012" in row and "QUARANTINED" in header) == ("quarantined" in changes)
            assert {"ID", "NAME", "NEXT", "LAST", "DOCUMENTS", "STATE"} <= set(header.split())
    assert "failing ×3: the" in row if changes is failing else True


def test_a_source_that_waits_for_what_workers_lack_says_so_and_nothing_says_that_a_failed_sync_succeeded():
    lacking = {"type": "VariableNotSet", "message": "PASSWORD is not set.", "blocked": True}
    assert "waiting: PASSWORD is not set." in sources_shown(160, state="waiting", last_error=lacking)[1]
    assert sources_shown(120, state="waiting", last_error={"message": "an old one"})[1].endswith("waiting")
    told = source_views.last_sync(SOURCE)
    assert told.endswith("(1 min 0 s ago)")  # a source that was resumed forgot that it failed
    assert source_views.last_sync({**SOURCE, "consecutive_failures": 2}).endswith("ago), failed")


def test_operations_fit_eighty_columns():
    def show(console) -> None:
        operation_views.show_list(None, console, [OPERATION])

    for width in (80, 100_000):
        [header, row] = shown(show, width)
        assert max(map(len, (header, row))) <= width
        assert "LEFT" not in header and row.split()[:2] == ["sync-12", "succeeded"]
    assert "handbook/of/the/whole/house and 1 more" in row and "COLLECTION" in header
    OPERATION["progress"] = {"seconds_left": 90.0}
    assert "about 1 min 30 s" in shown(show, 120)[1]


def workers_shown(width: int, *models: dict) -> list[str]:
    worker = {
        "id": "gpu-node-17:4711:9f2c",
        "profile": "gpu",
        "state": "ready",
        "command": None,
        "uptime_seconds": 93_000.0,
        "heartbeat_age_seconds": 2.0,
        "memory_bytes": 3_400_000_000,
        "plugin_state_current": True,
        "plugin_failures": {},
        "models": list(models),
        "in_progress": {"stages": {"embed": 512}},
    }
    return shown(lambda console: fleet_views._show_workers(console, [worker], fleet=True), width)


def test_workers_fit_eighty_columns_and_say_on_which_device_their_models_are():
    embedder = {"plugin": "dense-local", "model": "BAAI/bge-large-en-v1.5", "device": "cuda"}
    reranker = {**embedder, "plugin": "late-interaction"}
    remote, broken = {"plugin": "http-reranker", "model": "rerank-3"}, {"plugin": "mine", "error": "KeyError"}
    for width in (80, 100_000):
        [header, row] = workers_shown(width, embedder, reranker, {**embedder, "model": "tiny", "device": "cpu"})
        assert max(map(len, (header, row))) <= width
        assert "MODELS" in header and "cuda: " in row
    assert "cuda: BAAI/bge-large-en-v1.5; cpu: tiny  " in row
    assert "  rerank-3, mine  " in workers_shown(200, remote, broken)[1]


@given(
    widths=st.lists(st.integers(1, 60), min_size=2, max_size=8),
    room=st.integers(20, 200),
    spared=st.integers(0, 8),
    least=st.integers(1, 20),
)
def test_a_table_leaves_out_no_more_than_it_must(widths, room, spared, least):
    header = [str(number) for number in range(len(widths))]
    spare, shrink = header[1:][:spared], {header[0]: least, header[-1]: least}
    kept = fitting(header, widths, room, spare=spare, shrink=shrink)
    total = sum(kept.values()) + 2 * (len(kept) - 1)
    assert set(header) - {header[at] for at in kept} <= set(spare)
    assert all(least <= width or width == widths[at] for at, width in kept.items())
    if total > room:  # then all that may go is gone, and all that may be cut is cut
        assert not {header[at] for at in kept} & set(spare)
        assert all(kept[at] <= max(least, 0) or kept[at] == widths[at] for at in kept if header[at] in shrink)
    if sum(widths) + 2 * (len(widths) - 1) <= room:
        assert kept == dict(enumerate(widths))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (99, "99 s"), (100, "1 min"), (5_999, "99 min"), (6_000, "1 h"), (260_000, "3 days")],
)
def test_times_in_a_table_are_short(seconds, words):
    assert roughly(seconds) == words


def test_of_a_source_that_does_not_fit_the_end_of_its_name_is_shown() -> None:
    lines = sources_shown(80, name="/srv/handbook/of/the/whole/house/kitchen")
    assert "/kitchen " in lines[1] and "…" in lines[1] and cell_len(lines[1]) <= 80
    assert (
        "/srv/handbook/of/the/whole/house/kitchen"
        in sources_shown(10_000, name="/srv/handbook/of/the/whole/house/kitchen")[1]
    )
