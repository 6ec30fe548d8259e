"""Datasets are read with errors that name the line; measures are those of the documents, not of the chunks."""

from __future__ import annotations

import json
import math

import pytest

from semantik_pipeline.errors import UsageError
from semantik_pipeline.search import SearchQuery
from semantik_pipeline.search.evaluation import evaluate, read_dataset
from semantik_pipeline.search.evaluation.ranking import as_run, rank


@pytest.fixture
def folder(tmp_path):
    """A dataset of three documents and three queries, one of them without judgements."""
    write(tmp_path / "corpus.jsonl", [{"_id": f"doc-{i}", "title": "T", "text": f"text {i}"} for i in (1, 2, 3)])
    write(
        tmp_path / "queries.jsonl", [{"_id": q, "text": t} for q, t in (("1", "lease"), ("2", "milk"), ("3", "jazz"))]
    )
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n1\tdoc-1\t1\n1\tdoc-9\t0\n2\tdoc-2\t2\n")
    return tmp_path


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def test_a_dataset_is_read(folder):
    dataset = read_dataset(folder)
    assert dataset.queries == {"1": "lease", "2": "milk", "3": "jazz"}
    assert dataset.qrels == {"1": {"doc-1": 1, "doc-9": 0}, "2": {"doc-2": 2}}
    assert dataset.judged == ["1", "2"]
    assert [document["_id"] for document in dataset.documents()] == ["doc-1", "doc-2", "doc-3"]


@pytest.mark.parametrize(
    "content", ["1\tdoc-1\t1\n2\tdoc-2\t2\n", "1 0 doc-1 1\n2 0 doc-2 2\n", "\n1\tdoc-1\t1\r\n2\tdoc-2\t2"]
)
def test_qrels_without_header_in_trec_columns_or_in_their_folder(folder, content):
    (folder / "qrels.tsv").unlink()
    (folder / "qrels").mkdir()
    (folder / "qrels" / "test.tsv").write_text(content)
    assert read_dataset(folder).qrels == {"1": {"doc-1": 1}, "2": {"doc-2": 2}}


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("queries.jsonl", '{"_id": "1", "text": "a"}\nnonsense\n', r"queries\.jsonl, line 2: not valid JSON"),
        ("queries.jsonl", '{"_id": "1"}\n', r"queries\.jsonl, line 1: the field 'text'"),
        ("queries.jsonl", "[1]\n", r"queries\.jsonl, line 1: a list"),
        ("queries.jsonl", '{"_id": "1", "text": "a"}\n{"_id": "1", "text": "b"}\n', r"line 2: .*'1' occurs twice"),
        ("qrels.tsv", "1\tdoc-1\t1\n1\tdoc-2\n", r"qrels\.tsv, line 2: 2 columns"),
        ("qrels.tsv", "1\tdoc-1\t1\n1\tdoc-2\tgood\n", r"qrels\.tsv, line 2: the grade 'good'"),
        ("qrels.tsv", "8\tdoc-1\t1\n", r"judges none of the queries"),
        ("qrels.tsv", "", r"judges none of the queries"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(folder, name, content, told):
    (folder / name).write_text(content)
    with pytest.raises(UsageError, match=told):
        read_dataset(folder)


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels.tsv"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(UsageError, match=name):
        read_dataset(folder)


def test_a_missing_folder_and_a_broken_corpus_are_named(folder):
    with pytest.raises(UsageError, match="no folder"):
        read_dataset(folder / "nowhere")
    (folder / "corpus.jsonl").write_bytes(b'{"_id": "1", "text": "a"}\n\xff\xfe\n')
    with pytest.raises(UsageError, match=r"corpus\.jsonl is not valid UTF-8"):
        list(read_dataset(folder).documents())


@pytest.fixture
def library(runtime):
    """doc-1 has two chunks about leases, doc-2 one about milk that also names a lease."""
    runtime.add("lease lease", document_id=1)
    runtime.add("lease again", document_id=1)
    runtime.add("milk and lease", document_id=2)
    runtime.add("jazz", document_id=3)
    return runtime


def test_measures_are_of_documents_each_counted_once(folder, library):
    (folder / "qrels.tsv").write_text("1\tdoc-2\t1\n2\tdoc-2\t1\n2\tdoc-404\t1\n")
    report = evaluate(library, read_dataset(folder), SearchQuery(text="", mode="sparse", rerank=False))
    # "lease": two chunks of doc-1 before the one of doc-2, but doc-2 is the second document.
    assert report.per_query["1"] == {"ndcg@10": pytest.approx(1 / math.log2(3)), "recall@100": 1.0, "mrr@10": 0.5}
    ideal = 1 + 1 / math.log2(3)
    assert report.per_query["2"] == {"ndcg@10": pytest.approx(1 / ideal), "recall@100": 0.5, "mrr@10": 1.0}
    assert report.to_dict() == {
        "ndcg@10": pytest.approx((1 / math.log2(3) + 1 / ideal) / 2), "recall@100": 0.75, "mrr@10": 0.75, "queries": 2,
    }  # fmt: skip


def test_a_query_without_an_answer_counts_as_nothing_found(folder, library):
    (folder / "queries.jsonl").write_text('{"_id": "1", "text": "lease"}\n{"_id": "2", "text": "quokka"}\n')
    report = evaluate(library, read_dataset(folder), SearchQuery(text="", mode="sparse", rerank=False))
    assert report.per_query["2"] == {"ndcg@10": 0.0, "recall@100": 0.0, "mrr@10": 0.0}
    assert report.to_dict()["mrr@10"] == 0.5


def test_a_part_of_the_queries_has_a_report_of_its_own(folder, library):
    report = evaluate(library, read_dataset(folder), SearchQuery(text="", rerank=False))
    assert report.only(["2"]).to_dict()["queries"] == 1
    assert report.only([]).to_dict() == {"ndcg@10": 0.0, "recall@100": 0.0, "mrr@10": 0.0, "queries": 0}


def test_enough_chunks_are_asked_for_to_get_a_hundred_documents(folder, runtime):
    for document in range(1, 121):
        for part in range(5):
            runtime.add(f"lease {part} {document}", document_id=document)
    (folder / "qrels.tsv").write_text("".join(f"1\tdoc-{i}\t1\n" for i in range(1, 101)))
    report = evaluate(runtime, read_dataset(folder), SearchQuery(text="", mode="sparse", rerank=False))
    # All the chunks score alike, so they come in order of id: doc-1 … doc-100 are the first hundred documents.
    assert report.mean("recall@100") == 1.0


def test_the_reranker_gets_what_a_search_gives_it_without_a_deadline(folder, runtime, script_reranker, scored_by):
    for _ in range(150):
        runtime.add("lease")
    reranker = script_reranker(scored_by(len))
    runtime.settings.search = runtime.settings.search.model_copy(update={"rerank_deadline": 1e-9})
    evaluate(runtime, read_dataset(folder), SearchQuery(text="", limit=10))
    assert sum(map(len, reranker.slices)) == 2 * 50


def test_progress_counts_the_judged_queries(folder, library):
    calls = []
    evaluate(library, read_dataset(folder), SearchQuery(text="", rerank=False), lambda *told: calls.append(told))
    assert calls == [(1, 2), (2, 2)]


def test_warnings_are_told_once(folder, library):
    report = evaluate(library, read_dataset(folder), SearchQuery(text=""))
    assert len(report.warnings) == 1
    assert "words" in report.warnings[0]


def test_ranking_keeps_the_order_of_best_chunks(library):
    from semantik_pipeline.search import search

    hits = search(library, SearchQuery(text="lease", mode="sparse", rerank=False)).hits
    documents = rank(hits, lambda hit: hit.document, 10)
    assert documents == ["doc-1", "doc-2"]
    run = as_run(documents)
    assert sorted(run, key=run.get, reverse=True) == documents
