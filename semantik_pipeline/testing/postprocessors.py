"""The requirements for every postprocessor, as a test class for authors.

Subclass :class:`PostprocessorContract` in your tests and give it your plugin::

    class TestMine(PostprocessorContract):
        def make_plugin(self):
            return MyPostprocessor()

Override ``make_context`` if yours needs other data than :class:`FakeContext` provides.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import math
from collections.abc import Sequence
from dataclasses import asdict

import jsonschema
from hypothesis import given, settings
from hypothesis import strategies as st

from semantik_pipeline.contracts.postprocessor import PostprocessContext, PostprocessorPlugin, QueryText
from semantik_pipeline.documents import Passage, SearchHit
from semantik_pipeline.testing.postprocessing import FakeContext, make_hit

QUERY = "how do leases expire"
TEXTS = (
    "Leases expire when nobody renews them. A worker that stands still holds none.",
    "a worker takes from the queue",
    "Leases expire when nobody renews them. A worker that stands still holds none.",
    "",
    "the index holds vectors, and leases hold none",
    "\x00 odd \U0001f680 第一句话 é",
    "search the document " * 200,
)


def check_hits(after: Sequence[SearchHit], before: Sequence[SearchHit], *, annotates: bool = False) -> None:
    """Assert that ``after`` contains hits of ``before``, each at most once, unchanged except for allowed additions."""
    assert isinstance(after, list), "a list"
    given = {hit.rank: hit for hit in before}
    shown = [one for hit in after for one in (hit, *hit.grouped_hits)]
    assert len({hit.rank for hit in shown}) == len(shown), "each hit at most once, and its rank left as it was"
    for hit in shown:
        was = given.get(hit.rank)
        assert was is not None, "only hits that were given"
        for name in ("document", "title", "text", "start", "end"):
            assert getattr(hit, name) == getattr(was, name), f"{name} is not for a postprocessor to change"
        assert math.isfinite(hit.score), "scores are finite"
        for span in [*hit.highlights, *([hit.passage] if hit.passage else [])]:
            assert 0 <= span.start <= span.end <= len(hit.text), "marks lie in the text"
    if annotates:
        assert [hit.rank for hit in after] == [hit.rank for hit in before], "ANNOTATES: none left out, none moved"


class PostprocessorContract:
    """Tests that every postprocessor must pass."""

    def make_plugin(self) -> PostprocessorPlugin:
        raise NotImplementedError

    def make_context(self, hits: Sequence[SearchHit]) -> PostprocessContext:
        """A context in which each hit is the second of three chunks of its document."""
        return FakeContext({hit.document: _chunks(hit) for hit in hits})

    def process(self, query: str, hits: Sequence[SearchHit]) -> list[SearchHit]:
        async def life() -> list[SearchHit]:
            plugin = self.make_plugin()
            await plugin.initialize()
            try:
                after = plugin.process(QueryText(query), list(hits), self.make_context(hits))
                return await after if inspect.isawaitable(after) else after
            finally:
                await plugin.cleanup()

        return asyncio.run(life())

    def check(self, query: str, hits: Sequence[SearchHit]) -> list[SearchHit]:
        after = self.process(query, hits)
        check_hits(after, hits, annotates=type(self.make_plugin()).ANNOTATES)
        return after

    def hits(self, texts: Sequence[str] = TEXTS) -> list[SearchHit]:
        """One hit for each text; every third hit belongs to the first document."""
        return [
            make_hit(rank, text, document=f"doc-{rank if rank % 3 else 1}", ordinal=rank, language="en")
            for rank, text in enumerate(texts, 1)
        ]

    def test_it_gives_back_hits_that_it_was_given(self):
        self.check(QUERY, self.hits())

    def test_no_hits_no_hits(self):
        assert self.process(QUERY, []) == []

    def test_the_same_again(self):
        assert self.process(QUERY, self.hits()) == self.process(QUERY, self.hits())

    def test_what_it_says_is_json(self):
        after = self.process(QUERY, self.hits())
        told = json.loads(json.dumps([asdict(hit) for hit in after]))
        assert [SearchHit.from_dict(one) for one in told] == after

    def test_it_changes_no_hit_in_place(self):
        hits, untouched = self.hits(), self.hits()
        self.process(QUERY, hits)
        assert hits == untouched, "hits are values: use dataclasses.replace"

    def test_hits_of_which_little_is_known(self):
        bare = [SearchHit(**{**asdict(hit), "metadata": {}}) for hit in self.hits()]
        self.check(QUERY, [hit for hit in bare if not hit.grouped_hits])

    def test_odd_queries(self):
        for query in ("", "?!", "the", "\x00", '"', "leases expire " * 400, "第一句话", "[a-z]+(", "🚀"):
            self.check(query, self.hits())

    def test_schema(self):
        schema = type(self.make_plugin()).get_config_schema()
        if schema is not None and schema.get("type") == "object":
            jsonschema.validators.validator_for(schema).check_schema(schema)

    def test_any_texts(self):
        @settings(max_examples=25, deadline=None)
        @given(st.text(max_size=30), st.lists(st.text(max_size=60), max_size=6))
        def holds(query: str, texts: list[str]) -> None:
            self.check(query, self.hits(texts))

        holds()


def _chunks(hit: SearchHit) -> list[Passage]:
    mine = hit.metadata.get("ordinal", 0)
    before = Passage("What was before. ", max(0, hit.start - 17), hit.start, mine - 1, ["Leases"])
    after = Passage("And what is after.", hit.end, hit.end + 18, mine + 1, ["Leases"])
    return [before, after]
