"""`semantik eval --compare` on queries that distinguish ways of searching.

The table, a row for a real reranker, and advice that has the promised effect.
"""

from __future__ import annotations

import json
import shlex
from importlib.metadata import entry_points
from pathlib import Path
from tempfile import gettempdir

import pytest

from tests.integration.cli.conftest import CommandLine

QUERIES = 40

#: Words that every text has some of; by these a query resembles the wrong documents.
COMMON = ("pumps", "valves", "tanks", "hoses", "filters", "gauges")

RERANKER = "relevance-feedback"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Each query has one word that only its document has, and three that stand by themselves in short documents: what
    resembles it by all its words is wrong, what has its rarest word is right."""
    folder = tmp_path / "machines"
    folder.mkdir()
    corpus, queries, judgements = [], [], ["query-id\tcorpus-id\tscore"]
    for number in range(QUERIES):
        own = f"part{number:03}"
        asked = [COMMON[(number + step) % len(COMMON)] for step in range(3)]
        others = " ".join(f"w{number}x{other}" for other in range(25))
        corpus.append({"_id": f"d{number}", "title": "", "text": f"{own} {asked[0]} {others}"})
        corpus.append({"_id": f"n{number}", "title": "", "text": f"{' '.join(asked)} {number}"})
        queries.append({"_id": f"q{number}", "text": f"{' '.join(asked)} {own}"})
        judgements.append(f"q{number}\td{number}\t1")
    for name, records in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / "qrels.tsv").write_text("\n".join(judgements) + "\n")
    return folder


@pytest.fixture
def reranking(cli: CommandLine) -> CommandLine:
    """A command line that reranks with the built-in plugin that loads no model; the others are disabled."""
    names = [point.name for point in entry_points(group="semantik.plugins") if point.name.startswith("reranker-")]
    others = [name.removeprefix("reranker-") for name in names if name != f"reranker-{RERANKER}"]
    cli.data.mkdir()
    state = {"version": 1, "disabled_ids": [*others, "fake-reranker"]}
    (cli.data / "plugins.json").write_text(json.dumps(state))
    cli.environment["SEMANTIK_SEARCH_RERANKER"] = RERANKER
    cli.environment["MPLCONFIGDIR"] = str(Path(gettempdir()) / "semantik-tests-matplotlib")
    return cli


def table(out: str) -> tuple[list[str], dict[str, list[str]]]:
    """The names of a table's columns, and way -> its cells."""
    lines = out.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("way "))
    rows = [line.split("  ") for line in lines[start : lines.index("", start)]]
    header, *cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    return header, {row[0]: row[1:] for row in cells}


def test_a_way_that_wins_is_shown_and_advised_and_its_command_makes_it_the_default(
    reranking: CommandLine, dataset: Path
) -> None:
    default = f"minmax 0.6 + {RERANKER} 0.3"
    shown = reranking("eval", dataset, "--compare")
    assert shown.code == 0, shown.err
    header, rows = table(shown.out)
    assert header == ["way", "nDCG@10", "Recall@100", "MRR@10", "p50", "difference", "p"]
    assert set(rows) >= {f"{default} *", "dense", "sparse", "rrf", "minmax 0.6", "dbsf 0.6"}
    assert next(iter(rows)) == "sparse", "the best first"
    measures = {way: [float(cell) for cell in cells[:3]] for way, cells in rows.items()}
    assert measures["sparse"] == [1.0, 1.0, 1.0] and measures[f"{default} *"][0] < 0.7
    assert measures[f"{default} *"] != measures["minmax 0.6"] and "left out" not in shown.out, "it has reranked"
    for way, cells in rows.items():
        assert cells[3].endswith(" ms") and float(cells[3].removesuffix(" ms").replace(",", "")) > 0, way
    difference, p, verdict = rows["sparse"][4:]
    assert float(difference) == pytest.approx(1 - measures[f"{default} *"][0], abs=0.0002)
    assert float(p.removeprefix("<")) < 0.05 and verdict == "better"
    assert rows[f"{default} *"][4:] == [], "the others are compared with it"
    assert f"sparse is better than the default, {default}" in shown.out

    [command] = [line.partition(": ")[2] for line in shown.out.splitlines() if line.startswith("To apply it: ")]
    words = shlex.split(command)
    assert words[:4] == ["semantik", "collections", "configure", "COLLECTION"]
    [collection] = reranking("collections", "list", "--json").json()["collections"]
    configured = reranking("collections", "configure", collection["name"], *words[4:])
    assert configured.code == 0, configured.err
    after = reranking("eval", dataset, "--compare", "--json").json()
    [now] = [one for one in after["ways"] if one["default"]]
    assert now["ndcg@10"] == 1.0
    assert after["recommendation"]["way"] is None, "as advised, it is as good as any"
