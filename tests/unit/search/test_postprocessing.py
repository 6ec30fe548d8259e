"""Postprocessors in a search: what is done with what they answer, what is said, and how pages are cut."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semantik_pipeline.builtin.postprocessors.dedupe import DedupePostprocessor
from semantik_pipeline.builtin.postprocessors.diversity import DiversityPostprocessor
from semantik_pipeline.builtin.postprocessors.group import GroupPostprocessor
from semantik_pipeline.builtin.postprocessors.highlight import HighlightPostprocessor
from semantik_pipeline.contracts import PostprocessorPlugin
from semantik_pipeline.documents import SearchHit
from semantik_pipeline.errors import UsageError
from semantik_pipeline.search import SearchAnswer, SearchQuery, SeveralAnswers, merged, postprocessing, search
from semantik_pipeline.search.places import MAX_RUNS, MAX_RUNS_OF_ALL
from semantik_pipeline.search.postprocess_choice import chosen_postprocessors
from semantik_pipeline.testing.fake_postprocessor import FakePostprocessor
from semantik_pipeline.testing.postprocessing import make_hit


def ask(runtime, *names, text="lease expiry", **options):
    options.setdefault("rerank", False)
    return search(runtime, SearchQuery(text=text, postprocessors=names, **options))


def texts(answer):
    return [hit.text for hit in answer.hits]


def install(runtime, name, plugin):
    runtime.host.plugins[name] = plugin


@pytest.fixture(autouse=True)
def patient(runtime):
    """What is tested is not this machine's speed."""
    runtime.settings.search = runtime.settings.search.model_copy(update={"postprocess_deadline": 60})


@pytest.fixture
def library(runtime):
    for number, text in enumerate(
        ("lease expiry of workers", "lease renewal", "expiry of milk", "lease, lease", "zzz"), 1
    ):
        runtime.add(text, document_id=1 + number % 3)
    for name, plugin in (("group", GroupPostprocessor()), ("dedupe", DedupePostprocessor())):
        install(runtime, name, plugin)
    highlight = HighlightPostprocessor()
    runtime.host.call(highlight.initialize)
    install(runtime, "highlight", highlight)
    return runtime


# -- what a plugin answers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", FakePostprocessor.WRONG)
def test_one_that_misbehaves_is_left_out_and_named(library, mode):
    slow = mode in ("slow", "blocks")
    if slow:
        library.settings.search = library.settings.search.model_copy(update={"postprocess_deadline": 0.2})
    install(library, "fake", FakePostprocessor({"mode": mode, "seconds": 0.6}))
    plain = ask(library)
    answer = ask(library, "fake")
    assert answer.hits == plain.hits
    [warning] = answer.warnings
    assert warning.startswith("not postprocessed by fake: ")
    assert ("deadline" in warning) == slow


def test_the_others_go_on_around_one_that_fails(library):
    install(library, "fake", FakePostprocessor({"mode": "throws"}))
    answer = ask(library, "group", "fake", "highlight")
    assert len({hit.document for hit in answer.hits}) == len(answer.hits) == 3
    assert answer.hits[0].highlights
    assert answer.warnings == ["not postprocessed by fake: RuntimeError: This fake postprocessor always throws."]


def test_at_the_deadline_what_is_done_counts_and_nobody_waits(library):
    library.settings.search = library.settings.search.model_copy(update={"postprocess_deadline": 0.2})
    install(library, "fake", FakePostprocessor({"mode": "slow", "seconds": 30}))
    answer = ask(library, "group", "fake", "highlight")
    assert len(answer.hits) == 3
    assert answer.warnings == [
        "not postprocessed by fake: deadline",
        "not postprocessed by highlight: deadline",
    ]


@pytest.fixture
def hangs(library):
    """Installs plugins of these names that hang until the test is over; then they work again."""
    release = threading.Event()

    class Hangs(PostprocessorPlugin):
        PLUGIN_ID = "hangs"

        def process(self, query, hits, context):
            release.wait(60)
            return hits

    def give(*names):
        for name in names:
            install(library, name, Hangs())

    library.settings.search = library.settings.search.model_copy(update={"postprocess_deadline": 0.02})
    give("hangs")
    yield give
    release.set()
    library.settings.search = library.settings.search.model_copy(update={"postprocess_deadline": 60})
    until = time.monotonic() + 10
    while (warnings := ask(library, "hangs", "group").warnings) and time.monotonic() < until:
        time.sleep(0.01)
    assert warnings == []


def refused(library, name):
    """What is told once no run of it is begun any more."""
    for _ in range(100):
        [told] = ask(library, name).warnings
        if "busy" in told.partition(": ")[2]:
            return told
    raise AssertionError("more runs are begun than may hang")


def test_those_that_hang_for_ever_cost_no_thread_for_each_search(library, hangs):
    before = threads()
    told = refused(library, "hangs")
    assert len(threads() - before) <= MAX_RUNS + 1
    assert told == f"not postprocessed by hangs: {MAX_RUNS} runs of it are still busy"
    assert ask(library, "hangs").hits == ask(library).hits


def test_others_work_beside_one_that_hangs_for_ever(library, hangs):
    install(library, "fake", FakePostprocessor({"mode": "reverses"}))
    refused(library, "hangs")
    library.settings.search = library.settings.search.model_copy(update={"postprocess_deadline": 60})
    answer = ask(library, "hangs", "fake")
    assert answer.warnings == [f"not postprocessed by hangs: {MAX_RUNS} runs of it are still busy"]
    assert texts(answer) == texts(ask(library))[::-1]


def test_all_that_hang_are_bounded_too_and_named(library, hangs):
    names = [f"h{number}" for number in range(MAX_RUNS_OF_ALL // MAX_RUNS)]
    hangs(*names)
    install(library, "fake", FakePostprocessor({"mode": "reverses"}))
    before = threads()
    for name in names:
        refused(library, name)
    assert len(threads() - before) <= MAX_RUNS_OF_ALL + 1
    answer = ask(library, "fake")
    told = f"{MAX_RUNS_OF_ALL} runs of this process are still busy: {', '.join(names)}"
    assert answer.warnings == [f"not postprocessed by fake: {told}"]
    assert answer.hits == ask(library).hits


def threads():
    return {thread for thread in threading.enumerate() if thread.name == "postprocess"}


def test_searches_one_after_the_other_share_a_thread(library):
    seen = set()

    class Looks(PostprocessorPlugin):
        PLUGIN_ID = "looks"

        def process(self, query, hits, context):
            seen.add(threading.current_thread())
            return hits

    install(library, "looks", Looks())
    for _ in range(20):
        assert ask(library, "looks").warnings == []
        time.sleep(0.01)  # the thread tells that it is idle after the answer
    assert len(seen) < 10


def test_one_that_is_not_loaded_is_told(library):
    answer = ask(library, "nowhere")
    assert len(answer.hits) == 5
    assert answer.warnings == [
        "not postprocessed: nowhere is not available (There is no postprocessor plugin 'nowhere'.)"
    ]


def test_hits_can_be_moved_left_out_and_joined(library):
    plain = texts(ask(library))
    install(library, "fake", FakePostprocessor({"mode": "reverses"}))
    answer = ask(library, "fake")
    assert texts(answer) == plain[::-1]
    assert [hit.rank for hit in answer.hits] == [1, 2, 3, 4, 5]
    install(library, "fake", FakePostprocessor({"mode": "drops"}))
    assert texts(ask(library, "fake")) == plain[::2]
    install(library, "fake", FakePostprocessor({"mode": "joins"}))
    [hit] = ask(library, "fake").hits
    assert [one.text for one in (hit, *hit.grouped_hits)] == plain
    assert [one.rank for one in hit.grouped_hits] == [2, 3, 4, 5]
    assert hit.metadata["words"] == ["lease", "expiry"]


def test_it_sees_what_passes_the_threshold_and_nothing_else(library):
    seen = []

    class Looks(PostprocessorPlugin):
        PLUGIN_ID = "looks"
        POOL = 10

        async def process(self, query, hits, context):
            seen.append([hit.text for hit in hits])
            return hits

    install(library, "looks", Looks())
    plain = ask(library)
    least = plain.hits[2].score
    ask(library, "looks", score_threshold=least, limit=2)
    assert seen == [[hit.text for hit in plain.hits if hit.score >= least]]


def test_one_that_annotates_is_given_the_page_alone_at_the_end_of_a_chain(library):
    seen = []

    class Notes(PostprocessorPlugin):
        PLUGIN_ID = "notes"
        ANNOTATES = True

        async def process(self, query, hits, context):
            seen.append(len(hits))
            return [replace(hit, metadata={**hit.metadata, "noted": query.text}) for hit in hits]

    install(library, "notes", Notes())
    answer = ask(library, "notes", limit=2, offset=1)
    assert ([hit.metadata["noted"] for hit in answer.hits], seen) == (["lease expiry"] * 2, [2])
    assert [hit.rank for hit in answer.hits] == [2, 3]
    seen.clear()
    ask(library, "notes", "group", "notes", limit=2)
    assert seen == [5, 2]


def test_one_that_says_it_annotates_and_moves_hits_is_left_out(library):
    class Lies(FakePostprocessor):
        ANNOTATES = True

    install(library, "fake", Lies({"mode": "reverses"}))
    plain = ask(library)
    answer = ask(library, "fake")
    assert answer.hits == plain.hits
    assert "ANNOTATES" in answer.warnings[0]


def test_a_plain_method_works_too(library):
    class Plain(PostprocessorPlugin):
        PLUGIN_ID = "plain"

        def process(self, query, hits, context):
            return hits[:1]

    install(library, "plain", Plain())
    assert len(ask(library, "plain").hits) == 1


# -- which ones ------------------------------------------------------------------------------------------------------


def test_the_query_says_which_then_the_collection_then_the_settings(library):
    install(library, "fake", FakePostprocessor({"mode": "drops"}))
    library.settings.search = library.settings.search.model_copy(update={"postprocessors": ["fake"]})
    query = SearchQuery(text="lease expiry", rerank=False)
    assert len(search(library, query).hits) == 3
    library.ledger.config["search"] = {"postprocessors": []}
    assert len(search(library, query).hits) == 5
    library.ledger.config["search"] = {"postprocessors": [{"plugin": "group", "options": {"k": 1}}]}
    assert sorted(len(hit.grouped_hits) for hit in search(library, query).hits) == [
        0,
        1,
        1,
    ]  # the double's options are its own
    assert library.host.asked[-1] == ("group", {"k": 1})
    assert len(search(library, replace(query, postprocessors=[])).hits) == 5


def test_a_name_has_the_options_that_are_known_for_it():
    default = [{"plugin": "group", "options": {"k": 2}}, "highlight"]
    assert [(one.plugin, one.options, one.named, one.passing) for one in chosen_postprocessors(None, {}, default)] == [
        ("group", {"k": 2}, False, False),
        ("highlight", {}, False, False),
    ]
    asked = ["group", {"plugin": "group", "options": {"k": 2}}, {"plugin": "group", "options": {"k": 5}}, "other"]
    assert [(one.options, one.passing) for one in chosen_postprocessors(asked, {}, default)] == [
        ({"k": 2}, False),
        ({"k": 2}, False),
        ({"k": 5}, True),
        ({}, False),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        "highlight",
        [""],
        [7],
        [None],
        [{"plugin": "x", "option": {}}],
        [{"options": {}}],
        ["x"] * 9,
        [{"plugin": "x", "options": 3}],
    ],
)
def test_what_is_no_chain_is_refused(library, wrong):
    with pytest.raises(UsageError):
        search(library, SearchQuery(text="lease", postprocessors=wrong))


# -- pages -----------------------------------------------------------------------------------------------------------


def fill(runtime, documents, text=lambda number: f"lease number {number}"):
    for number, name in enumerate(documents):
        runtime.add(text(number), document_id=name, start=number, ordinal=number)


@pytest.mark.parametrize("rerank", [True, False])
def test_pages_of_groups_are_cut_from_one_list(runtime, script_reranker, scored_by, rerank):
    script_reranker(scored_by(lambda text: -len(text)), max_documents=100)
    fill(runtime, [1 + number % 17 for number in range(120)])
    install(runtime, "group", GroupPostprocessor())
    whole = [hit.document for hit in ask(runtime, "group", limit=17, rerank=rerank, candidates=30).hits]
    assert sorted(whole) == sorted(f"doc-{number}" for number in range(1, 18))
    pages = [ask(runtime, "group", limit=5, offset=at, rerank=rerank, candidates=30) for at in (0, 5, 10, 15)]
    assert [hit.document for page in pages for hit in page.hits] == whole
    assert [hit.rank for page in pages for hit in page.hits] == list(range(1, 18))


def test_a_document_of_very_many_hits_leaves_room_for_the_others(runtime):
    fill(runtime, [1] * 1300 + [2, 3, 4], lambda number: "lease expiry" if number < 1300 else f"lease {number}")
    install(runtime, "group", GroupPostprocessor())
    answer = ask(runtime, "group", limit=4)
    assert sorted(hit.document for hit in answer.hits) == ["doc-1", "doc-2", "doc-3", "doc-4"]
    assert answer.warnings == []
    second = ask(runtime, "group", limit=2, offset=2)
    assert [hit.document for hit in second.hits] == [hit.document for hit in answer.hits][2:]


def test_a_short_page_is_better_than_one_that_was_not_postprocessed(runtime):
    fill(runtime, [1] * 300 + [2, 3, 4], lambda number: "lease expiry" if number < 300 else f"lease {number}")

    class Tires(GroupPostprocessor):
        POOL = 10

        async def process(self, query, hits, context):
            if len(hits) > 100:
                raise RuntimeError("too many")
            return super().process(query, hits, context)

    install(runtime, "group", Tires())
    answer = ask(runtime, "group", limit=4)
    assert [hit.document for hit in answer.hits] == ["doc-1"]
    assert answer.warnings == ["there may be more hits: not postprocessed by group: RuntimeError: too many"]


def test_a_short_page_for_which_no_time_is_left_does_not_say_that_it_is_the_last(runtime):
    fill(runtime, [1] * 300 + [2, 3, 4], lambda number: "lease expiry" if number < 300 else f"lease {number}")
    runtime.settings.search = runtime.settings.search.model_copy(update={"postprocess_deadline": 1.5})
    install(runtime, "group", GroupPostprocessor())
    install(runtime, "fake", FakePostprocessor({"mode": "slow", "seconds": 30}))
    answer = ask(runtime, "group", "fake", limit=4)
    assert [hit.document for hit in answer.hits] == ["doc-1"]
    assert answer.warnings == ["not postprocessed by fake: deadline", "there may be more hits: deadline"]
    assert ask(runtime, "group", "fake", limit=1).warnings == ["not postprocessed by fake: deadline"]


def test_a_short_page_of_the_most_candidates_does_not_say_that_it_is_the_last(runtime, monkeypatch):
    monkeypatch.setattr(postprocessing, "MAX_POOL", 100)
    fill(runtime, [1] * 150 + [2], lambda number: "lease expiry")
    install(runtime, "group", GroupPostprocessor())
    answer = ask(runtime, "group", limit=4)
    assert answer.warnings == ["there may be more hits: only the best 100 were considered"]


def test_duplicates_leave_room_for_the_others(runtime):
    fill(runtime, range(1, 61), lambda number: "lease expiry of workers" if number < 50 else f"lease number {number}")
    install(runtime, "dedupe", DedupePostprocessor())
    answer = ask(runtime, "dedupe", limit=10)
    assert len(set(texts(answer))) == 10
    assert len(answer.hits[0].duplicates) == 49
    assert texts(ask(runtime, "dedupe", limit=4, offset=3)) == texts(answer)[3:7]


def test_where_there_are_no_more_nothing_is_looked_for(runtime):
    fill(runtime, [1, 1, 1, 2])
    install(runtime, "group", GroupPostprocessor())
    assert len(ask(runtime, "group", limit=10).hits) == 2
    assert len(runtime.store.calls) == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None)
@given(documents=st.lists(st.integers(1, 6), min_size=1, max_size=16), limit=st.integers(1, 4))
def test_pages_put_together_are_the_whole(runtime, documents, limit):
    runtime.__init__()
    runtime.settings.search = runtime.settings.search.model_copy(update={"postprocess_deadline": 60})
    fill(runtime, documents, lambda number: f"lease expiry {'of all ' * (number % 4)} {number // 3}")
    for name, plugin in (
        ("group", GroupPostprocessor()),
        ("dedupe", DedupePostprocessor()),
        ("mmr", DiversityPostprocessor()),
    ):
        install(runtime, name, plugin)
    for chain in (("group",), ("dedupe", "group"), ("mmr",), ("mmr", "dedupe")):
        whole = ask(runtime, *chain, limit=24)
        parts = [ask(runtime, *chain, limit=limit, offset=at) for at in range(0, 24, limit)]
        assert [hit for part in parts for hit in part.hits] == whole.hits
        if "group" in chain:
            assert len({hit.document for hit in whole.hits}) == len(whole.hits)


# -- explanations, other collections ---------------------------------------------------------------------------------


def test_what_a_postprocessor_moved_is_explained(library):
    install(library, "fake", FakePostprocessor({"mode": "reverses"}))
    hit = ask(library, "fake", explain=True).hits[0]
    assert hit.explanation["postprocessors"] == [{"plugin": "fake", "rank_before": 5, "rank_after": 1}]
    assert sum(part["value"] for part in hit.explanation["contributions"]) == pytest.approx(hit.score)


@pytest.mark.parametrize("rerank", [True, False])
def test_hits_that_were_fetched_from_deeper_are_explained_too(runtime, script_reranker, scored_by, rerank):
    script_reranker(scored_by(lambda text: 0.0), max_documents=100, calibrated=True)
    twins = ["lease expiry of workers"] * 90
    fill(runtime, range(1, 121), lambda number: [*twins, *(f"lease number {n}" for n in range(30))][number])
    runtime.add("zebra jazz quiz", document_id=200)  # the worst, so that the others are better than nothing
    install(runtime, "dedupe", DedupePostprocessor())
    answer = ask(runtime, "dedupe", limit=10, rerank=rerank, rerank_weight=1.0, explain=True)
    assert len(answer.hits) == 10
    assert sum(not hit.explanation["rerankers"] for hit in answer.hits) >= 9
    for hit in answer.hits:
        assert sum(part["value"] for part in hit.explanation["contributions"]) == pytest.approx(hit.score)
        assert hit.explanation["fused"]["score"] == hit.scores["fused"]
    assert any(part["component"] == "deeper" for part in answer.hits[1].explanation["contributions"]) == rerank


def test_hits_of_several_collections_keep_each_collections_own_order():
    def answer(*scores):
        return SearchAnswer(hits=[make_hit(rank, f"{rank}", score=score) for rank, score in enumerate(scores, 1)])

    answers = {"a": answer(0.9, 0.2, 0.8), "b": answer(0.7, 0.6)}
    several = SeveralAnswers(answers=answers, together=[["a", "b"]])
    both = merged(several, offset=0, limit=5)
    assert [(one.collection, one.hit.text) for one in both] == [
        ("a", "1"),
        ("b", "1"),
        ("b", "2"),
        ("a", "2"),
        ("a", "3"),
    ]
    assert [one.hit.rank for one in both] == [1, 2, 3, 4, 5]
    assert merged(several, offset=2, limit=2) == both[2:4]
    apart = merged(SeveralAnswers(answers=answers, together=[["b"], ["a"]]), offset=0, limit=9)
    assert [(one.collection, one.hit.text) for one in apart] == [
        ("b", "1"),
        ("a", "1"),
        ("b", "2"),
        ("a", "2"),
        ("a", "3"),
    ], "scores that mean other things are not compared"


def test_what_was_added_comes_back_from_json(library):
    import json

    answer = ask(library, "group", "highlight")
    told = json.loads(json.dumps(answer.to_dict()))
    assert told == answer.to_dict()
    assert [SearchHit.from_dict(one) for one in told["hits"]] == answer.hits
    assert answer.hits[0].highlights
