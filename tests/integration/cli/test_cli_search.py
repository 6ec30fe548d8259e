"""``semantik search``, ``eval``, ``status`` and ``plugins``."""

from __future__ import annotations

import json

import pytest
import typer.main

from semantik_pipeline.cli.app import app
from semantik_pipeline.cli.groups import GROUPS


def test_search_answers_as_promised(indexed):
    done = indexed.afresh("search", "when does a lease expire", "--json")
    assert done.code == 0, done.err
    answer = done.json()
    assert {"hits", "reranked", "rerankers", "timings_ms", "warnings", "facets", "document_explanation"} <= set(answer)
    assert answer["reranked"] is True
    hit = answer["hits"][0]
    assert {"rank", "score", "document", "title", "text", "start", "end", "metadata", "scores"} <= set(hit)
    assert set(hit["scores"]) == {"dense", "sparse", "fused", "rerank"}
    assert (hit["rank"], hit["document"].rsplit("/", 1)[1]) == (1, "leases.md")


def test_options_of_a_search(indexed):
    plain = indexed("search", "lease", "--no-rerank", "--mode", "sparse", "--limit", "1", "--json").json()
    assert plain["reranked"] is False
    assert len(plain["hits"]) == 1
    assert plain["hits"][0]["scores"]["dense"] is None
    weighed = indexed(
        "search", "lease", "--dense-weight", "0", "--rerank-weight", "0", "--fusion", "dbsf", "--json"
    ).json()
    assert weighed["hits"][0]["document"] == plain["hits"][0]["document"]
    assert weighed["hits"][0]["score"] == weighed["hits"][0]["scores"]["fused"]
    only = '{"must": [{"key": "media_type", "match": {"value": "text/plain"}}]}'
    filtered = indexed("search", "lease", "--filter", only, "--json").json()["hits"]
    assert [hit["document"].rsplit("/", 1)[1] for hit in filtered] == ["queues.txt"]


def test_a_search_counts_explains_and_says_why_not(indexed):
    asked = ("search", "lease", "--facet", "media_type", "--facet", "page", "--explain", "--why", "nowhere.md")
    answer = indexed(*asked, "--json").json()
    assert answer["facets"]["media_type"] == [
        {"value": "text/markdown", "count": 1},
        {"value": "text/plain", "count": 1},
    ]
    assert answer["facets"]["page"] == []
    assert answer["document_explanation"]["cause"] == "not-found"
    for hit in answer["hits"]:
        assert sum(part["value"] for part in hit["explanation"]["contributions"]) == pytest.approx(hit["score"])
    people = indexed(*asked).out
    assert "media_type\n  1  text/markdown\n  1  text/plain\n" in people
    assert "no matching document has this field" in people
    assert "nowhere.md: There is no document 'nowhere.md'" in people
    assert " dense + " in people and "fake-reranker   rank 1" in people
    why = indexed("search", "lease", "--limit", "1", "--why", "queues.txt", "--filter", '{"must": []}').out
    assert "queues.txt: It " in why
    broken = indexed("search", "lease", "--why", "broken.pdf").out
    assert "It is in quarantine: chunk failed with" in broken


def test_postprocessors_are_chosen_by_name_and_option(indexed):
    asked = ("search", "when does a lease expire", "--json", "--no-rerank")
    marked = indexed(*asked).json()["hits"][0]
    assert "lease" in {marked["text"][one["start"] : one["end"]].lower() for one in marked["highlights"]}
    assert indexed(*asked, "--postprocessor", "none").json()["hits"][0]["highlights"] == []
    grouped = indexed(*asked, "--postprocessor", "group:k=1").json()
    documents = [hit["document"] for hit in grouped["hits"]]
    assert len(documents) == len(set(documents))
    assert grouped["warnings"] == []
    wrong = indexed(*asked, "--postprocessor", "group:k=none")
    assert wrong.code == 2
    assert "group" in wrong.json()["error"]["message"]


def test_people_see_ranked_passages(indexed):
    done = indexed("search", "when does a lease expire")
    assert done.code == 0
    assert " 1. ~/papers/leases.md" in done.out
    assert "A lease expires when its holder stops renewing it." in done.out
    assert "hits, reranked, in" in done.out


def test_nothing_found_says_why(indexed, cli, tmp_path):
    none = '{"must": [{"key": "media_type", "match": {"value": "no/such"}}]}'
    assert "matches both the query and the filter" in indexed("search", "lease", "--filter", none).out
    (tmp_path / "void").mkdir()
    cli("index", tmp_path / "void")
    assert "no indexed documents yet" in cli("search", "lease").out


def test_global_options_stand_anywhere(indexed):
    elsewhere = ("--data-dir", indexed.data)
    wrong = {"SEMANTIK_DATA_DIR": "/nowhere"}
    before = indexed("--json", *elsewhere, "status", **wrong).json()
    after = indexed("status", f"--data-dir={indexed.data}", "--json", **wrong).json()
    assert before["collections"] == after["collections"]
    assert before["data_dir"] == str(indexed.data)
    literal = indexed("search", "--json", "--", "--json")
    assert literal.code == 0
    assert literal.json()["hits"]


def test_status_counts_and_measures(indexed):
    answer = indexed("status", "--json").json()
    assert answer["collections"]["default"]["documents"] == {"indexed": 2, "quarantined": 1}
    assert answer["owner"] is None
    assert all(answer["disk"][kind] > 0 for kind in ("ledger", "blobs", "index"))
    people = indexed("status")
    assert "2 indexed, 1 quarantined" in people.out


def test_whatever_a_library_prints_json_stays_json(indexed, tmp_path):
    # sitecustomize runs in every Python process that finds it: it prints once the command is at work, and at exit.
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, os, sys, threading, time\n"
        "atexit.register(lambda: print('bye'))\n"
        "def noise():\n"
        "    while 'semantik_pipeline.runtime' not in sys.modules:\n"
        "        time.sleep(0.01)\n"
        "    os.write(1, b'noise from C')\n"
        "threading.Thread(target=noise, daemon=True).start()\n"
    )
    path = f"{tmp_path}:{indexed.environment['PYTHONPATH']}"
    done = indexed.afresh("search", "lease", "--json", PYTHONPATH=path)
    assert done.code == 0
    assert done.json()["hits"]
    assert "bye" in done.err and "noise from C" in done.err


def test_a_reader_that_leaves_hears_no_complaint(indexed):
    process = indexed.start("documents", "list")
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert err == b""


def test_eval_measures_and_reuses_its_index(cli, tmp_path):
    dataset = tmp_path / "dataset"
    dataset.mkdir()
    texts = {"d1": "leases expire", "d2": "queues drain", "d3": "vectors are long"}
    lines = [json.dumps({"_id": key, "text": text}) for key, text in texts.items()]
    (dataset / "corpus.jsonl").write_text("\n".join(lines))
    (dataset / "queries.jsonl").write_text('{"_id": "q1", "text": "leases expire"}\n{"_id": "q2", "text": "drain"}\n')
    (dataset / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t1\n")
    first = cli("eval", dataset, "--json")
    assert first.code == 0, first.err
    answer = first.json()
    assert {"ndcg@10": 1.0, "recall@100": 1.0, "mrr@10": 1.0, "queries": 2, "documents": 3, "chunks": 3}.items() <= (
        answer.items()
    )
    assert answer["seconds"] > 0
    cli("eval", dataset, "--mode", "sparse", "--no-rerank")
    assert list(cli("status", "--json").json()["collections"]) == [answer["collection"]]


WRONG = [
    (["--reranker", "nope"], "nope"),
    (["--reranker", "fake-reranker,nope"], "nope"),
    (["--reranker", "fake-reranker", "--reranker", "fake-reranker"], "twice"),
    (["--reranker", "fake-embedder"], "embedding"),
    (["--filter", '{"must": [{"key": "page"}]}'], "filter"),
    (["--limit", "0"], "limit"),
]


@pytest.mark.parametrize(("options", "named"), WRONG, ids=[options[0] + " " + options[1] for options, _ in WRONG])
def test_a_wrong_option_of_eval_is_told_before_anything_is_indexed(cli, tmp_path, options, named):
    dataset = tmp_path / "dataset"
    dataset.mkdir()
    (dataset / "corpus.jsonl").write_text('{"_id": "d1", "text": "leases expire"}\n')
    (dataset / "queries.jsonl").write_text('{"_id": "q1", "text": "leases expire"}\n')
    (dataset / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    refused = cli("eval", dataset, *options)
    assert (refused.code, named in refused.err) == (2, True), refused.err
    assert cli("status", "--json").json()["collections"] == {}


def test_a_reranker_that_is_not_there_is_told_though_nothing_is_found(indexed):
    options = ("--filter", '{"must": [{"key": "title", "match": {"value": "none"}}]}', "--reranker", "nope")
    refused = indexed("search", "leases", *options)
    assert (refused.code, "nope" in refused.err) == (2, True)


def test_plugins_can_be_listed_configured_and_disabled(cli):
    listed = {one["id"]: one for one in cli("plugins", "list", "--type", "embedding", "--json").json()["plugins"]}
    assert {one["type"] for one in listed.values()} == {"embedding"}
    assert listed["dense-local"]["builtin"] is True
    assert listed["fake-embedder"]["origin"] == "semantik-fakes 1.0"
    done = cli("plugins", "configure", "fake-embedder", "dimension=32", "model=tiny", "--json")
    assert done.json()["config"] == {"dimension": 32, "model": "tiny"}
    assert cli("plugins", "configure", "fake-embedder", "--unset", "model", "--json").json()["config"] == {
        "dimension": 32
    }
    assert cli("plugins", "disable", "fake-embedder", "--json").json()["enabled"] is False
    assert cli("plugins", "show", "fake-embedder", "--json").json()["status"] == "disabled"
    assert cli("plugins", "enable", "fake-embedder", "--json").json()["status"] == "loaded"
    assert cli("plugins", "health", "fake-embedder").code == 0
    cli("plugins", "configure", "openai-compatible", "api_key_env=NO_SUCH_VARIABLE", "model=m", "base_url=http://h/v1")
    missing = cli("plugins", "health", "openai-compatible", "--json")
    assert (missing.code, missing.json()["health"]) == (1, "unhealthy")
    assert "NO_SUCH_VARIABLE" in missing.json()["reason"]


def test_help_and_version_need_nothing(cli):
    assert cli.afresh("--version").out.startswith("semantik 2.")
    shown = cli("--help").out
    for command in ("index", "search", "documents", "verify", "status", "eval", "migrate", "plugins"):
        assert f"  {command} " in shown
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(typer.main.get_command(app).commands)
    assert all(f"\n{title}:\n" in shown for title in GROUPS)
    assert "--data-dir DIR" in cli("documents", "retry", "--help").out
    assert not cli.data.exists()
