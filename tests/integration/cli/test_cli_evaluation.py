"""`semantik eval` in all its forms.

Comparisons, known items, indexes built in other ways, charts, and earlier measurements.
"""

from __future__ import annotations

import json
from importlib.metadata import entry_points
from pathlib import Path
from tempfile import gettempdir

import pytest

from tests.integration.cli.conftest import CommandLine

TEXTS = {
    "d1": "A lease ends when its holder stops renewing it.",
    "d2": "Queues drain from the front while workers take what is due.",
    "d3": "Vectors are long lists of numbers that stand for a text.",
    "d4": "The ledger says what exists and who holds it now.",
}


def write(path: Path, records: list[dict]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


@pytest.fixture(autouse=True)
def only_the_fake_reranker(cli: CommandLine) -> None:
    """Disable the built-in rerankers: a comparison asks every loaded one, and they take seconds to load.

    matplotlib takes seconds too when it lists the system's fonts, which it does once for each cache folder.
    """
    cli.environment["MPLCONFIGDIR"] = str(Path(gettempdir()) / "semantik-tests-matplotlib")
    names = [point.name for point in entry_points(group="semantik.plugins") if point.name.startswith("reranker-")]
    cli.data.mkdir()
    state = {"version": 1, "disabled_ids": [name.removeprefix("reranker-") for name in names]}
    (cli.data / "plugins.json").write_text(json.dumps(state))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "leases"
    folder.mkdir()
    titles = {"d1": "How leases end", "d2": "What queues do", "d3": "About vectors", "d4": "The ledger's word"}
    write(folder / "corpus.jsonl", [{"_id": id, "title": titles[id], "text": text} for id, text in TEXTS.items()])
    write(
        folder / "queries.jsonl",
        [{"_id": "q1", "text": "lease ends"}, {"_id": "q2", "text": "drain"}, {"_id": "q3", "text": "who holds it"}],
    )
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t1\nq3\td4\t1\n")
    return folder


def test_ways_are_compared_and_what_was_measured_is_remembered(cli: CommandLine, dataset: Path, tmp_path: Path) -> None:
    picture = tmp_path / "pictures" / "leases.html"
    first = cli("eval", dataset, "--compare", "--plot", picture, "--json")
    assert first.code == 0, first.err
    answer = first.json()
    expected = {"subject": "leases", "kind": "judged", "queries": 3, "documents": 4, "left_out": {}}
    assert {name: answer[name] for name in expected} == expected
    by_name = {one["way"]: one for one in answer["ways"]}
    assert {"dense", "sparse", "minmax 0.6", "rrf", "dbsf 0.6", "minmax 0.6 + fake-reranker 0.3"} <= set(by_name)
    assert [one["way"] for one in answer["ways"] if one["default"]] == ["minmax 0.6 + fake-reranker 0.3"]
    assert by_name["sparse"]["ndcg@10"] == by_name["sparse"]["mrr@10"] == 1.0
    assert all(one["p50_ms"] > 0 for one in answer["ways"])
    assert answer["recommendation"]["way"] is None  # three queries prove nothing
    assert answer["plots"] == [str(picture)] and "<svg" in picture.read_text()

    shown = cli("eval", dataset, "--ways", "sparse")
    assert shown.code == 0, shown.err
    assert "minmax 0.6 + fake-reranker 0.3 *" in shown.out and "is as good as any" in shown.out
    assert "\nrrf" not in shown.out

    cli("eval", dataset, "--mode", "sparse", "--no-rerank")
    told = cli("eval", dataset, "--history", "--json").json()["evaluations"]
    latest, *_ = told
    assert (latest["way"], latest["default"], latest["change"]["difference"]) == ("sparse", False, 0.0)
    assert len({row["run"] for row in told}) == 3
    history = cli("eval", "leases", "--history")
    assert history.out.count("leases ") >= 3 and "+0.0000" in history.out
    assert cli("eval", "elsewhere", "--history", "--json").json() == {"evaluations": []}


def test_a_collection_is_asked_for_its_own_words_and_for_an_index_made_otherwise(
    cli: CommandLine, tmp_path: Path
) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    for id, text in TEXTS.items():
        (folder / f"{id}.md").write_text(f"# About the matter of {id}\n\n{text}\n")
    assert cli("index", folder).code == 0
    done = cli("eval", "--known-items", "default", "--queries", "8", "--try", "chunking.max_tokens=30", "--json")
    assert done.code == 0, done.err
    answer = done.json()
    assert [answer[name] for name in ("kind", "subject", "queries", "collection")] == [
        "known-items",
        "default",
        8,
        "default",
    ]
    assert answer["kinds"] == {"titles": 4, "sentences": 4}
    tried = next(one for one in answer["ways"] if one["way"] == "chunking.max_tokens=30")
    assert set(tried["parts"]) == {"titles", "sentences"} and tried["verdict"] == "alike"
    left = cli("collections", "list", "--json").json()["collections"]
    assert [one["name"] for one in left] == ["default"]
    stored = [Path(one) for one in answer["plots"]]
    assert [one.suffix for one in stored] == [".png", ".html"] and all(one.is_file() for one in stored)


def test_one_way_of_searching_is_measured(cli: CommandLine, dataset: Path) -> None:
    def measured(*options: str) -> dict:
        return cli("eval", dataset, "--json", *options).json()

    with (dataset / "queries.jsonl").open("a") as file:
        file.write(json.dumps({"_id": "q4", "text": "the -lists switch"}) + "\n")
    with (dataset / "qrels.tsv").open("a") as file:
        file.write("q4\td3\t1\n")
    first = measured("--fusion", "rrf", "--no-rerank")
    assert (first["way"], first["recall@100"]) == ("rrf", 1.0), "a query is words, whatever it looks like"
    second = measured("--dense-weight", "0.25", "--rerank-weight", "0.5", "--interpret")
    assert (second["way"], second["recall@100"]) == ("minmax 0.25 + fake-reranker 0.5", 0.75)
    told = cli("eval", dataset, "--history", "--json").json()["evaluations"]
    assert not any(one.get("default") for one in told), "neither is what a search does that asks for nothing"


WRONG = [
    ([], "Neither DATASET_DIR"),
    (["DATASET", "--known-items", "default"], "Both DATASET_DIR"),
    (["DATASET", "--compare", "--mode", "dense"], "--ways"),
    (["DATASET", "--compare", "--fusion", "rrf"], "--ways"),
    (["--known-items", "default", "--dense-weight", "0.5"], "--ways"),
    (["--known-items", "default", "--interpret"], "takes its queries from the documents"),
    (["DATASET", "--plot", "x.png", "--rerank-weight", "0"], "--ways"),
    (["DATASET", "--rerank-weight", "2"], "--rerank-weight 2 is out of range"),
    (["DATASET", "--ways", "splade"], "no way 'splade'"),
    (["--known-items", "nowhere"], "no collection 'nowhere'"),
    (["DATASET", "--try", "chunking"], "not KEY=VALUE"),
    (["DATASET", "--try", "chunk.size=4"], "no setting 'chunk.size'"),
]


def test_what_makes_no_sense_is_told_before_anything_is_indexed(cli: CommandLine, dataset: Path) -> None:
    for arguments, told in WRONG:
        refused = cli("eval", *(dataset if one == "DATASET" else one for one in arguments))
        assert (refused.code, told in refused.err) == (2, True), (arguments, refused.err)
    assert cli("status", "--json").json()["collections"] == {}


def test_a_collection_without_prose_has_nothing_to_be_asked_for(cli: CommandLine, tmp_path: Path) -> None:
    folder = tmp_path / "figures"
    folder.mkdir()
    (folder / "a.csv").write_text("1,2,3\n4,5,6\n")
    assert cli("index", folder).code in (0, 3)
    refused = cli("eval", "--known-items", "default")
    assert (refused.code, "no titles or sentences" in refused.err) == (2, True), refused.err
