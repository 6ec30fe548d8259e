"""What postprocessors answer that no answer can have: it is left out, and what the API gives can be written."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from semantik_pipeline.api.routes.search import _hit
from semantik_pipeline.contracts import PostprocessorPlugin
from semantik_pipeline.documents import Highlight, Passage, SearchHit, Span
from semantik_pipeline.search import SearchQuery, search


def deep(levels):
    return [] if levels == 0 else [deep(levels - 1)]


def noted(**more):
    return lambda hit: replace(hit, metadata={**hit.metadata, **more})


def written_into(name, change):
    """What somebody does who takes a hit's objects and lists for his own."""

    def spoil(hit):
        change(getattr(hit, name))
        return hit

    return spoil


WRONG = {
    "a number of numpy's": (noted(likeness=np.float32(0.3)), "metadata that JSON can't represent"),
    "numpy's number for an equal one": (noted(half=np.float32(0.5)), "metadata that JSON can't represent"),
    "scores of numpy's": (
        lambda hit: replace(hit, scores={**hit.scores, "fused": np.float32(hit.scores["fused"])}), "scores"
    ),
    "no number": (noted(likeness=float("nan")), "metadata that JSON can't represent"),
    "an object": (noted(by=object()), "metadata that JSON can't represent"),
    "half a character": (noted(word="\ud800"), "metadata that JSON can't represent"),
    "names that are no texts": (noted(by={1: "x"}), "metadata with a name that is not a string"),
    "very deep": (noted(by=deep(300)), "too many levels"),
    "metadata that is none": (lambda hit: replace(hit, metadata=[1]), "metadata that is not an object"),
    "written into metadata": (
        written_into("metadata", lambda own: own.update(likeness=np.float32(0.3))), "metadata that JSON can't represent"
    ),
    "written into an object in it": (
        written_into("metadata", lambda own: own["by"]["a"].append(object())), "metadata that JSON can't represent"
    ),
    "a score of its own": (lambda hit: replace(hit, scores={"mine": 1.0}), "changed the scores"),
    "written into scores": (written_into("scores", lambda own: own.update(dense=1.0)), "changed the scores"),
    "an explanation": (lambda hit: replace(hit, explanation={"why": "x"}), "changed the explanation"),
    "written into an explanation": (
        written_into("explanation", lambda own: own["contributions"].append("x")), "changed the explanation"
    ),
    "half a place": (lambda hit: replace(hit, highlights=[Highlight(0.5, 1.5, "x")]), "not an integer"),
    "a place by a truth": (lambda hit: replace(hit, highlights=[Highlight(False, True, "x")]), "not an integer"),
    "half a passage": (lambda hit: replace(hit, passage=Span(0.5, 1.5)), "not an integer"),
    "half a character for a term": (
        lambda hit: replace(hit, highlights=[Highlight(0, 1, "\ud800")]),
        "not a Highlight",
    ),
    "written into highlights": (written_into("highlights", lambda own: own.append("x")), "not a Highlight"),
    "highlights without end": (
        lambda hit: replace(hit, highlights=iter([Highlight(0, 1, "x")])),
        "that are not a list",
    ),
    "documents by name": (lambda hit: replace(hit, duplicates={hit.document: 1}), "that are not a list"),
    "another start": (lambda hit: replace(hit, start=float(hit.start)), "changed the start"),
    "another rank": (lambda hit: replace(hit, rank=float(hit.rank)), "it was not given"),
    "a score that is none": (lambda hit: replace(hit, score=10**400), "OverflowError"),
}  # fmt: skip


class Spoils(PostprocessorPlugin):
    """Spoils the best hit, or whatever ``spoil`` makes of all."""

    PLUGIN_ID = "spoils"

    def __init__(self, spoil):
        super().__init__()
        self.spoil = spoil

    async def process(self, query, hits, context):
        return [self.spoil(hits[0]), *hits[1:]]


@pytest.fixture
def library(runtime):
    runtime.settings.search = runtime.settings.search.model_copy(update={"postprocess_deadline": 60})
    for number, text in enumerate(("lease expiry of workers", "lease renewal", "expiry of milk")):
        runtime.add(text, document_id=number + 1, by={"a": ["x"]}, half=0.5)
    return runtime


def ask(runtime, *names, **options):
    return search(runtime, SearchQuery(text="lease expiry", rerank=False, postprocessors=names, **options))


def written(answer):
    """As the API and a search worker write it."""
    return [_hit("default", hit).model_dump_json() for hit in answer.hits]


@pytest.mark.parametrize("name", WRONG)
def test_what_can_not_be_written_is_left_out_and_told(library, name):
    spoil, told = WRONG[name]
    library.host.plugins["spoils"] = Spoils(spoil)
    plain = ask(library, explain=True)
    answer = ask(library, "spoils", explain=True)
    assert written(answer) == written(plain)
    assert answer.hits == plain.hits
    [warning] = answer.warnings
    assert warning.startswith("not postprocessed by spoils: ") and told in warning


def test_what_it_does_after_its_answer_is_not_in_ours(library):
    kept = []

    class Keeps(PostprocessorPlugin):
        PLUGIN_ID = "keeps"

        def process(self, query, hits, context):
            kept.extend(hits)
            raise RuntimeError("no")

    library.host.plugins["keeps"] = Keeps()
    answer = ask(library, "keeps", explain=True)
    before = written(answer)
    for hit in kept:
        hit.metadata["by"]["a"].append(object())
        hit.highlights.append(None)
        hit.explanation["legs"].clear()
    assert written(answer) == before


def test_hits_that_were_written_and_read_again_are_the_same(library):
    library.host.plugins["spoils"] = Spoils(lambda hit: SearchHit.from_dict(json.loads(json.dumps(asdict(hit)))))
    answer = ask(library, "spoils", explain=True)
    assert (answer.warnings, answer.hits) == ([], ask(library, explain=True).hits)


def test_what_can_be_written_is_taken_also_where_it_was_written_in_place(library):
    def spoil(hit):
        hit.metadata["mine"] = {"pair": ("x", 1.5), "none": None}
        hit.duplicates.append("doc-2")
        return replace(hit, highlights=(Highlight(0, 1, "x"),))

    library.host.plugins["spoils"] = Spoils(spoil)
    answer = ask(
        library, "spoils", "spoils", explain=True
    )  # explanations tell of the first, and the second leaves them
    assert answer.warnings == []
    assert answer.hits[0].metadata["mine"]["pair"] == ("x", 1.5)
    assert answer.hits[0].duplicates == ["doc-2", "doc-2"]
    assert len(written(answer)) == 3


def test_the_next_one_may_leave_an_explanation_that_the_last_one_changed(library):
    library.host.plugins["spoils"] = Spoils(lambda hit: replace(hit, score=hit.score / 2))
    answer = ask(library, "spoils", "spoils", explain=True)
    assert answer.warnings == []
    assert [one["plugin"] for one in answer.hits[0].explanation["postprocessors"]] == ["spoils", "spoils"]


def test_hits_are_joined_once(library):
    class Nests(PostprocessorPlugin):
        PLUGIN_ID = "nests"

        def process(self, query, hits, context):
            first, second, third = hits
            return [replace(first, grouped_hits=[replace(second, grouped_hits=[third])])]

    library.host.plugins["nests"] = Nests()
    answer = ask(library, "nests")
    assert len(answer.hits) == 3
    assert "grouped hits under one that is itself grouped" in answer.warnings[0]


@pytest.mark.parametrize(
    "change", [{"start": 10.0}, {"ordinal": 1.0}, {"section": ["another"]}, {"section": [object()]}, {"end": 10.5}]
)
def test_passages_beside_a_hit_are_those_of_the_context_in_all_that_they_say(library, change):
    whole = Passage("what follows", 10, 22, 1, ["A"])

    class Around(PostprocessorPlugin):
        PLUGIN_ID = "around"
        changed: dict = {}

        async def process(self, query, hits, context):
            context.given[hits[0].rank] = [whole]
            return [replace(hits[0], context_after=[replace(whole, **self.changed)]), *hits[1:]]

    plugin = library.host.plugins["around"] = Around()
    plugin.changed = {"end": 14, "text": "what"}
    assert ask(library, "around").warnings == []
    plugin.changed = change
    assert "added a passage to a hit" in ask(library, "around").warnings[0]
