"""The postprocessing step of a search: loads the postprocessors, runs them in order, and cuts the page from their
result.

A search never fails because of a postprocessor: the hits stay as they were before it, and there is a warning.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from semantik_pipeline.contracts import QueryText
from semantik_pipeline.documents import SearchHit
from semantik_pipeline.errors import PluginNotFoundError
from semantik_pipeline.plugins.configuration import check_passing
from semantik_pipeline.search.answer import passing, to_hit
from semantik_pipeline.search.blending import Ranked
from semantik_pipeline.search.deadlines import DEADLINE, until
from semantik_pipeline.search.explanation import Explanation, explained_deeper, moved
from semantik_pipeline.search.faults import told
from semantik_pipeline.search.fusion import Candidate
from semantik_pipeline.search.postprocess_check import checked, lent
from semantik_pipeline.search.postprocess_choice import ChosenPostprocessor
from semantik_pipeline.search.postprocess_context import SearchContext
from semantik_pipeline.search.postprocess_run import Link, Step, run_chain
from semantik_pipeline.search.request import MAX_LIMIT, SearchPlan
from semantik_pipeline.search.retrieval import Retrieved

if TYPE_CHECKING:
    from semantik_pipeline.ledger.catalog.collections import SearchView
    from semantik_pipeline.runtime import Runtime

#: If the hits don't fill the page, this many times as many candidates are retrieved ...
DEEPER = 4
#: ... up to this maximum.
MAX_POOL = 4 * MAX_LIMIT

#: Retrieves the given number of the query's best candidates.
Deeper = Callable[[int], Retrieved]


@dataclass(frozen=True, kw_only=True)
class Postprocessed:
    """The page of ``hits``, and what postprocessing did.

    ``ids`` are the candidate ids of all hits that were left when the page was cut. ``left_out`` maps each plugin to the
    ids of the hits that it dropped; hits that it grouped under others are not among them. ``added`` are entries from
    ``deeper``, retrieved because the page was short without them. ``explained`` has their explanations by id, if
    explanations are requested.
    """

    hits: list[SearchHit]
    ids: list[str] = field(default_factory=list)
    added: list[Ranked] = field(default_factory=list)
    deeper: Retrieved | None = None
    explained: dict[str, Explanation] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def check_postprocessors(host: Any, plan: SearchPlan) -> SearchPlan:
    """Return the plan with as many candidates as its postprocessors declare (``POOL``).

    Raises PluginNotFoundError if a postprocessor that the query names is not loaded, UsageError or PluginConfigError
    for options that a query can't set.
    """
    pool = plan.candidates
    for chosen in plan.postprocessors:
        try:
            loaded = host.registry.get(chosen.plugin, "postprocessor")
        except PluginNotFoundError:
            if chosen.named:
                raise
            continue  # postprocess() adds a warning
        if chosen.passing:
            check_passing(loaded, chosen.options)
            host.effective_config(chosen.plugin, chosen.options, kind="postprocessor")
        pool = max(pool, min(_declared(loaded.cls, "POOL", int), MAX_POOL))
    return replace(plan, candidates=pool)


def comparing(host: Any, plan: SearchPlan) -> list[str]:
    """Return the ids of the plan's postprocessors whose work on a hit depends on hits of other documents."""
    found = []
    for chosen in plan.postprocessors:
        with suppress(PluginNotFoundError):
            cls = host.registry.get(chosen.plugin, "postprocessor").cls
            if not (_declared(cls, "ANNOTATES", bool) or _declared(cls, "BY_DOCUMENT", bool)):
                found.append(chosen.plugin)
    return list(dict.fromkeys(found))


def postprocess(
    runtime: Runtime,
    view: SearchView,
    plan: SearchPlan,
    ranked: Sequence[Ranked],
    *,
    deeper: Deeper,
    explanations: Mapping[str, dict[str, Any]] = MappingProxyType({}),
) -> Postprocessed:
    """Run the plan's postprocessors within ``search.postprocess_deadline`` on the entries that reach the score
    threshold, and cut the page. ``explanations`` are by candidate id.

    Postprocessors at the end of the chain that only annotate get the page alone. If the others leave too few hits for
    the page and there may be more candidates, they run again with more of them.
    """
    with ExitStack() as stack:
        work = _Work(runtime, view, plan, explanations)
        ordering, annotating = work.ready(stack)
        ranked = passing(ranked, plan)
        hits = work.ordered(ordering, ranked)
        pool = plan.candidates
        added: list[Ranked] = []
        latest: Retrieved | None = None
        while ordering and work.is_short(hits, ranked, pool) and work.may_go_deeper(pool):
            pool = min(pool * DEEPER, MAX_POOL)
            found = work.aside(deeper, pool)
            new = work.new_among(found, ranked)
            after = work.again(ordering, [*ranked, *new], hits) if new else hits
            if after is hits:
                break
            ranked, hits, added, latest = [*ranked, *new], after, [*added, *new], found
        ids = [work.candidates[hit.rank].id for hit in hits] if ordering else [one.candidate.id for one in ranked]
        left_out = work.left_out()
        page = work.run(annotating, hits[plan.offset : plan.given] if ordering else hits)
    warnings = list(dict.fromkeys(work.warnings))
    more: dict[str, Any] = {"added": added, "deeper": latest, "explained": work.explained}
    return Postprocessed(hits=_numbered(page, plan.offset), ids=ids, left_out=left_out, warnings=warnings, **more)


class _Work:
    """The postprocessing of one search. Until the page is numbered, a hit's rank is its place among the candidates."""

    def __init__(
        self, runtime: Runtime, view: SearchView, plan: SearchPlan, explanations: Mapping[str, dict[str, Any]]
    ) -> None:
        self.plan = plan
        self.candidates: dict[int, Candidate] = {}
        self.warnings: list[str] = []
        self._steps: list[Step] = []
        self._host = runtime.host
        self.explained: dict[str, Explanation] = {}
        self._explanations = explanations
        self._every: dict[int, SearchHit] = {}
        self._context = SearchContext(runtime, view, plan, self.candidates)
        self._query = QueryText(plan.text, terms=QueryText(plan.words or plan.text).terms, phrases=plan.phrases)
        self._deadline = runtime.settings.search.postprocess_deadline
        self._until = time.monotonic() + self._deadline

    def ready(self, stack: ExitStack) -> tuple[list[Link], list[Link]]:
        """Load the chain. Returns the links up to the last one that may drop or move hits, and the links after it.

        The deadline starts when all are loaded.
        """
        links: list[Link] = []
        ordering = 0
        for chosen in self.plan.postprocessors:
            try:
                plugin = self._made(chosen, stack)
            except Exception as error:  # a plugin may raise anything while it loads
                self.warnings.append(f"not postprocessed: {chosen.plugin} is not available ({told(error)})")
                continue
            annotates = _declared(type(plugin), "ANNOTATES", bool)
            links.append(Link(plugin=chosen.plugin, work=self._work_of(chosen.plugin, plugin, annotates)))
            ordering = ordering if annotates else len(links)
        self._until = time.monotonic() + self._deadline
        return links[:ordering], links[ordering:]

    def _made(self, chosen: ChosenPostprocessor, stack: ExitStack) -> Any:
        if chosen.passing:
            return stack.enter_context(self._host.for_once(chosen.plugin, chosen.options, kind="postprocessor"))
        return self._host.instance(chosen.plugin, chosen.options, kind="postprocessor")

    def _work_of(self, name: str, plugin: Any, annotates: bool) -> Callable[[list[SearchHit]], list[SearchHit]]:
        def work(hits: list[SearchHit]) -> list[SearchHit]:
            method = until(self._until, plugin.process)
            answer = self._host.call(method, self._query, lent(hits), self._context)
            given = self._context.given
            after = checked(answer, hits, given, every=self._every, annotates=annotates)
            return moved(name, hits, after) if self.plan.explain and not annotates else after

        return work

    def ordered(self, links: Sequence[Link], ranked: Sequence[Ranked]) -> list[SearchHit]:
        """Return all hits after these links have run. Without links, only the hits of the page are created."""
        offset, last = (0, len(ranked)) if links else (self.plan.offset, self.plan.given)
        hits = []
        for rank, entry in enumerate(ranked[offset:last], offset + 1):
            self.candidates[rank] = entry.candidate
            hits.append(to_hit(rank, entry, self._explanations.get(entry.candidate.id)))
        self._every.update((hit.rank, hit) for hit in hits)
        self._steps = [("", hits)]
        return self.run(links, hits)

    def run(self, links: Sequence[Link], hits: list[SearchHit]) -> list[SearchHit]:
        outcome = run_chain(links, hits, self._until)
        self.warnings += [f"not postprocessed by {plugin}: {reason}" for plugin, reason in outcome.failed.items()]
        self._steps += outcome.steps
        return outcome.hits

    def left_out(self) -> dict[str, list[str]]:
        """Return the candidate ids of the hits that each plugin dropped."""
        found: dict[str, list[str]] = {}
        for (_, before), (plugin, after) in pairwise(self._steps):
            kept = {one.rank for hit in after for one in (hit, *hit.grouped_hits)}
            dropped = [one.rank for hit in before for one in (hit, *hit.grouped_hits) if one.rank not in kept]
            if dropped:
                found.setdefault(plugin, []).extend(self.candidates[rank].id for rank in dropped)
        return found

    def again(self, links: Sequence[Link], ranked: Sequence[Ranked], before: list[SearchHit]) -> list[SearchHit]:
        """Run the links on a longer list and return all hits.

        If a link fails that did not fail before, returns ``before`` and adds a warning: a short page is better than a
        page that was not postprocessed.
        """
        steps, warnings = self._steps, list(self.warnings)
        hits = self.ordered(links, ranked)
        failed = [warning for warning in self.warnings if warning not in warnings]
        if not failed:
            return hits
        self._steps, self.warnings = steps, [*warnings, f"there may be more hits: {failed[0]}"]
        return before

    def aside(self, deeper: Deeper, pool: int) -> Retrieved:
        """Retrieve more candidates. The plugins' deadline is extended by the time that this takes."""
        began = time.monotonic()
        found = deeper(pool)
        self._until += time.monotonic() - began
        return found

    def new_among(self, found: Retrieved, ranked: Sequence[Ranked]) -> list[Ranked]:
        """Return the candidates that are new and reach the threshold. They were not reranked, so none scores higher
        than the last entry of ``ranked``."""
        known = {entry.candidate.id for entry in ranked}
        least = ranked[-1].score
        new = [Ranked(candidate=one, score=min(least, one.fused)) for one in found.candidates if one.id not in known]
        new = [*passing(new, self.plan)]
        if self.plan.explain or self.plan.explain_document is not None:
            self.explained |= explained_deeper(self.plan, found, new)
        if self.plan.explain:
            self._explanations = {**self._explanations, **self.explained}
        return new

    def is_short(self, hits: Sequence[SearchHit], ranked: Sequence[Ranked], pool: int) -> bool:
        """Return whether the page is short because hits were dropped, and there may be more candidates."""
        return len(hits) < min(self.plan.given, len(ranked)) and len(ranked) >= pool

    def may_go_deeper(self, pool: int) -> bool:
        """Return whether more candidates may be retrieved; if not, a warning says why."""
        late = time.monotonic() >= self._until
        if late or pool >= MAX_POOL:
            why = DEADLINE if late else f"only the best {pool:,} were considered"
            self.warnings.append(f"there may be more hits: {why}")
            return False
        return True


def _numbered(page: Sequence[SearchHit], offset: int) -> list[SearchHit]:
    """Return the page with its final ranks. Grouped hits are numbered from 2 within their group."""
    return [
        hit
        if hit.rank == rank and not hit.grouped_hits
        else replace(
            hit, rank=rank, grouped_hits=[replace(one, rank=place) for place, one in enumerate(hit.grouped_hits, 2)]
        )
        for rank, hit in enumerate(page, offset + 1)
    ]


def _declared(cls: type, name: str, kind: type) -> Any:
    """Return an attribute that the plugin's class declares, or ``kind()`` if it is missing or not of that type."""
    value = getattr(cls, name, kind())
    return value if isinstance(value, kind) else kind()
