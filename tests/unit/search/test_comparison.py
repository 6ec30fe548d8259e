"""Ways side by side: each query in all of them, the default as the measure, and advice that luck can't give."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

from semantik_pipeline.errors import UsageError
from semantik_pipeline.ledger.catalog.evaluations import Evaluated
from semantik_pipeline.search import SearchQuery
from semantik_pipeline.search.evaluation import (
    Compared,
    Comparison,
    EvaluationReport,
    Judged,
    compare,
    evaluate,
    recommended,
)
from semantik_pipeline.search.evaluation.history import change_of, changes
from semantik_pipeline.search.evaluation.recommendation import settings_for
from semantik_pipeline.search.evaluation.ways import chosen, ways

BASE = SearchQuery(text="?")


@pytest.fixture
def library(runtime, script_reranker, scored_by):
    """Ten documents of a word each; the reranker ``words`` turns every order around; ``broken`` can't be loaded."""
    script_reranker(scored_by(lambda text: -len(text)))
    runtime.host.plugins["broken"] = RuntimeError("its weights are missing")
    runtime.host.of_kind = lambda kind: [SimpleNamespace(id=name) for name in ("words", "broken") if kind == "reranker"]
    for number in range(10):
        runtime.add(f"{'lease ' * (number + 1)}item{number}", document_id=number + 1)
    return runtime


@pytest.fixture
def judged():
    """Each query's words are one document's, which the search by words finds first."""
    queries = {str(n): f"item{n}" for n in range(10)}
    return Judged(queries=queries, qrels={str(n): {f"doc-{n + 1}": 1} for n in range(10)})


def named(found, name):
    return next(one for one in found.ways if one.way.name == name)


def test_there_is_a_way_for_each_leg_each_fusion_and_each_reranker(library):
    there = ways(library, BASE, {})
    assert [one.name for one in there] == [
        "minmax 0.6 + words 0.3",
        "dense",
        "sparse",
        "minmax 0.6",
        "rrf",
        "dbsf 0.6",
        "minmax 0.4",
        "minmax 0.8",
        "minmax 0.6 + broken 0.3",
    ]
    assert [one.name for one in there if one.default] == ["minmax 0.6 + words 0.3"]


def test_a_collection_says_what_the_default_is(library):
    there = ways(library, BASE, {"search": {"fusion": "rrf", "rerankers": []}})
    assert (there[0].name, there[0].default) == ("rrf", True)
    assert len({one.name for one in there}) == len(there)


def test_ways_are_chosen_by_the_beginnings_of_their_names_or_by_a_reranker(library):
    there = ways(library, BASE, {})
    assert [one.name for one in chosen(there, ["RRF", " broken"])] == [
        "minmax 0.6 + words 0.3",
        "rrf",
        "minmax 0.6 + broken 0.3",
    ]
    with pytest.raises(UsageError, match=r"no way 'splade'"):
        chosen(there, ["splade"])


def test_each_way_is_measured_and_held_against_the_default(library, judged):
    told = []
    found = compare(library, judged, ways(library, BASE, {}), lambda *progress: told.append(progress))
    assert told == [(done, 80) for done in range(1, 81)]
    assert named(found, "sparse").mean() == 1.0
    assert [one.mean() for one in found.ways] == sorted((one.mean() for one in found.ways), reverse=True)
    default = found.default
    assert (default.way.name, default.verdict, default.p) == ("minmax 0.6 + words 0.3", "default", None)
    for one in found.ways:
        assert one.p50_ms > 0
        if one is not default:
            assert one.difference == pytest.approx(one.mean() - default.mean())
            assert 0 < one.p <= one.p_adjusted <= 1


def test_each_query_is_embedded_once_for_all_ways(library, judged):
    compare(library, judged, ways(library, BASE, {}))
    assert len(library.embedder(7).modes) == len(judged.judged)


def test_a_way_that_does_not_work_is_left_out_with_the_reason(library, judged):
    found = compare(library, judged, ways(library, BASE, {}))
    assert list(found.left_out) == ["minmax 0.6 + broken 0.3"]
    assert "its weights are missing" in found.left_out["minmax 0.6 + broken 0.3"]


def test_a_way_that_does_not_work_is_left_out_though_the_first_query_finds_nothing_or_lists_documents(library):
    queries = {"0": "title:nothing zebra", "1": "-title:nothing", "2": "item2"}
    judged = Judged(queries=queries, qrels={id: {"doc-3": 1} for id in queries})
    found = compare(library, judged, chosen(ways(library, BASE, {}), ["words", "broken"]))
    assert list(found.left_out) == ["minmax 0.6 + broken 0.3"]


def test_a_default_that_does_not_rerank_is_measured_as_it_is(library, judged):
    library.host.plugins["words"] = RuntimeError("gone")
    found = compare(library, judged, ways(library, BASE, {}))
    assert found.default.mean() == named(found, "minmax 0.6").mean()
    assert any("gone" in warning for warning in found.default.report.warnings)


def test_the_collection_and_filter_of_the_base_are_those_of_all(library, judged):
    only = {"must": [{"key": "document", "match": {"value": "doc-1"}}]}
    found = compare(library, judged, ways(library, replace(BASE, filter=only), {}))
    assert {one.report.mean("recall@100") for one in found.ways} == {0.1}


class Drawn(Judged):
    verbatim = True


def test_queries_that_stand_in_the_texts_are_asked_as_they_stand(library):
    texts = ["Use the -verbose switch with a lease", 'Set the field type:text in "this form"', "-item9 title:nothing"]
    for number, text in enumerate(texts, 20):
        library.add(text, document_id=number)
    said = {
        "queries": {str(n): text for n, text in enumerate(texts)},
        "qrels": {str(n): {f"doc-{n + 20}": 1} for n in range(len(texts))},
    }
    some = chosen(ways(library, BASE, {}), ["dense", "sparse", "broken"])
    drawn = compare(library, Drawn(**said), some)
    assert {one.mean("recall@100") for one in drawn.ways} == {1.0}
    assert list(drawn.left_out) == ["minmax 0.6 + broken 0.3"]
    people = Judged(**said)
    assert evaluate(library, people, BASE).mean("recall@100") == 0.0, "they look for what the syntax says"
    assert evaluate(library, people, replace(BASE, interpret=False)).mean("recall@100") == 1.0


# -- advice -----------------------------------------------------------------------------------------------------------


def report(*scores):
    return EvaluationReport(
        per_query={str(n): {"ndcg@10": s, "recall@100": s, "mrr@10": s} for n, s in enumerate(scores)}
    )


@pytest.fixture
def comparison(library):
    """``comparison({way: (scores, p, milliseconds)})``; the default has 0.5 everywhere and takes 100 ms."""
    there = {one.name: one for one in ways(library, BASE, {})}

    def make(said, queries=100, verbatim=False):
        default = Compared(way=there["minmax 0.6 + words 0.3"], report=report(*[0.5] * queries), p50_ms=100.0)
        others = [
            Compared(
                way=there[name],
                report=report(*[score] * queries),
                p50_ms=took,
                difference=score - 0.5,
                p=p,
                p_adjusted=p,
            )
            for name, (score, p, took) in said.items()
        ]
        return Comparison(ways=[default, *others], verbatim=verbatim)

    return make


def test_the_best_of_what_is_better_is_advised_with_its_settings(comparison):
    advice = recommended(
        comparison({"rrf": (0.6, 0.01, 20.0), "minmax 0.4": (0.55, 0.01, 20.0), "dense": (0.9, 0.2, 9.0)})
    )
    assert advice.way == "rrf"
    assert advice.settings == {"search.fusion": "rrf", "search.rerankers": []}
    assert "0.6000 against 0.5000 (adjusted p = 0.0100), in 20 ms instead of 100" in advice.reason


def test_one_leg_alone_is_all_the_weight_on_it(comparison):
    assert recommended(comparison({"sparse": (0.6, 0.01, 20.0)})).settings == {
        "search.dense_weight": 0.0,
        "search.rerankers": [],
    }
    assert recommended(comparison({"dense": (0.6, 0.01, 20.0)})).settings["search.dense_weight"] == 1.0


def test_a_reranker_is_advised_with_the_options_that_it_was_measured_with(library):
    chain = ["words", {"plugin": "broken", "options": {"model": "large"}}]
    config = {"search": {"rerankers": chain}}
    plans = {one.name: one.plan for one in ways(library, BASE, config)}
    default = plans["minmax 0.6 + words + broken 0.3"]
    advised = settings_for(plans["minmax 0.6 + broken 0.3"], default)
    assert advised == {"search.rerankers": [{"plugin": "broken", "options": {"model": "large"}}]}
    assert settings_for(plans["minmax 0.6 + words 0.3"], default) == {"search.rerankers": ["words"]}
    assert settings_for(default, default) == {}
    applied = ways(library, BASE, {"search": {"rerankers": advised["search.rerankers"]}})[0].plan
    assert [(one.plugin, one.options) for one in applied.rerankers] == [("broken", {"model": "large"})]
    plain = ways(library, BASE, {"search": {"rerankers": ["broken"]}})[0].plan
    assert settings_for(applied, plain) == advised


def test_the_default_is_as_good_where_luck_explains_the_rest(comparison):
    advice = recommended(comparison({"rrf": (0.6, 0.06, 90.0), "dense": (0.2, 0.001, 9.0)}))
    assert (advice.way, advice.settings, advice.notes) == (None, {}, [])
    assert "as good as any" in advice.reason


def test_what_is_as_good_and_much_faster_is_worth_a_word(comparison):
    advice = recommended(comparison({"rrf": (0.499, 0.6, 20.0), "dense": (0.4, 0.06, 9.0)}))
    assert advice.notes == ["rrf is as good, as far as these queries can show, in 20 ms instead of 100."]


def test_queries_made_of_words_that_stand_there_advise_no_leaning_on_words(comparison):
    said = {"sparse": (0.9, 0.001, 4.0), "minmax 0.4": (0.8, 0.001, 20.0), "minmax 0.6": (0.499, 0.7, 20.0)}
    advice = recommended(comparison(said, verbatim=True))
    assert (advice.way, advice.settings) == (None, {})
    fast, wordy = advice.notes
    assert "minmax 0.6 is as good" in fast
    assert "sparse and minmax 0.4 found more. But" in wordy
    other = recommended(comparison({**said, "minmax 0.8": (0.6, 0.01, 20.0)}, verbatim=True))
    assert other.way == "minmax 0.8"
    assert recommended(comparison(said)).way == "sparse"


def test_few_queries_are_called_few(comparison):
    assert any("10 queries are few" in note for note in recommended(comparison({}, queries=10)).notes)


# -- pictures ---------------------------------------------------------------------------------------------------------


def test_the_pictures_show_every_way(comparison, tmp_path):
    from semantik_pipeline.search.evaluation.plotting import write_plots

    found = comparison({"rrf": (0.6, 0.01, 20.0), "dense": (0.4, 0.001, 9.0)})
    png, html = write_plots(found, "notes <b>: 100 queries", tmp_path / "deep" / "plot.v1")
    assert (png.name, html.name) == ("plot.v1.png", "plot.v1.html")
    assert png.read_bytes().startswith(b"\x89PNG")
    page = html.read_text("utf-8")
    assert "<svg" in page and "notes &lt;b&gt;: 100 queries" in page
    assert all(f"<td>{one.way.name}</td>" in page for one in found.ways)
    assert set(re.findall(r"https?://[^/]+", page)) <= {"http://www.w3.org"}  # names of formats; nothing is fetched


def test_a_picture_has_one_of_two_forms(comparison, tmp_path):
    from semantik_pipeline.search.evaluation.plotting import write_plots

    assert write_plots(comparison({}), "t", tmp_path / "a.html") == [tmp_path / "a.html"]
    assert not (tmp_path / "a.png").exists()


def test_without_matplotlib_the_way_to_it_is_told(comparison, tmp_path, monkeypatch):
    from semantik_pipeline.search.evaluation import plotting

    monkeypatch.setattr(plotting, "can_plot", lambda: False)
    with pytest.raises(UsageError, match=r"pip install 'semantik-pipeline\[evaluation\]'"):
        plotting.write_plots(comparison({}), "t", tmp_path / "a")


# -- over time --------------------------------------------------------------------------------------------------------


def measured(
    run, at, scores, *, way="rrf", default=True, kind="judged", subject="notes", fingerprint="f", **configuration
):
    return Evaluated(
        run=run, at=at, kind=kind, subject=subject, fingerprint=fingerprint, collection="c", way=way,
        is_default=default, configuration={"collection": configuration}, measures={}, scores=scores,
    )  # fmt: skip


def scores(value, queries=20):
    return {str(number): value for number in range(queries)}


def test_a_default_is_held_against_the_default_before_whatever_it_was():
    rows = [
        measured("3", 3.0, scores(0.6), way="rrf", model="b"),
        measured("3", 3.0, scores(0.1), way="dense", default=False),
        measured("2", 2.0, scores(0.9), subject="other"),
        measured("1", 1.0, scores(0.5), way="minmax 0.6", model="a"),
        measured("1", 1.0, scores(0.1), way="sparse", default=False),
    ]
    found = dict(zip("abcde", changes(rows), strict=True))
    change = found["a"][1]
    assert (change.before.run, change.difference, change.queries) == ("1", pytest.approx(0.1), 20)
    assert change.p < 0.001
    assert change.configured == {"collection.model": ("a", "b")}
    assert [found[key][1] for key in "bcde"] == [None] * 4


def test_runs_are_paired_over_the_queries_of_both_if_those_are_most_of_the_smaller():
    before = measured("1", 1.0, scores(0.5, 20))
    assert change_of(measured("2", 2.0, {**scores(0.6, 18), "new": 0.0}), before).queries == 18
    assert change_of(measured("2", 2.0, scores(0.6, 10)), before).queries == 10
    assert change_of(measured("2", 2.0, {**scores(0.6, 10), **dict.fromkeys("abcde", 0.1)}), before) is None
    assert change_of(measured("2", 2.0, {}), before) is None


def test_a_dataset_of_the_same_name_and_edited_judgements_are_not_compared():
    rows = [
        measured("4", 4.0, scores(0.6)),
        measured("3", 3.0, scores(0.9), fingerprint="edited"),
        measured("2", 2.0, scores(0.1), fingerprint="another folder called notes"),
        measured("1", 1.0, scores(0.5)),
    ]
    changed = [None if change is None else change.before.run for _, change in changes(rows)]
    assert changed == ["1", None, None, None]


def test_known_items_are_paired_though_some_came_and_went():
    rows = [
        measured("2", 2.0, {**scores(0.6, 19), "new": 0.0}, kind="known-items", fingerprint="g"),
        measured("1", 1.0, scores(0.5), kind="known-items"),
    ]
    (_, change), *_ = changes(rows)
    assert (change.before.run, change.queries) == ("1", 19)


def test_the_latest_run_that_can_be_paired_counts():
    rows = [
        measured("3", 3.0, scores(0.6)),
        measured("2", 2.0, {"else": 1.0}),
        measured("1", 1.0, scores(0.6)),
    ]
    (_, change), *_ = changes(rows)
    assert (change.before.run, change.difference, change.p) == ("1", 0.0, 1.0)
