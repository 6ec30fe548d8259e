"""The reranking step of a search: loads the rerankers, runs them in order, and blends their scores.

A search never fails because of a reranker: the order stays as it was before it, and there is a warning.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from semantik_pipeline.contracts import RerankerCapabilities
from semantik_pipeline.contracts.chunking import estimate_tokens
from semantik_pipeline.errors import PluginNotFoundError
from semantik_pipeline.plugins.shape import accepted
from semantik_pipeline.search.blending import Ranked, RerankerReport, Reranking, blend, unranked
from semantik_pipeline.search.deadlines import DEADLINE, until
from semantik_pipeline.search.fusion import Candidate
from semantik_pipeline.search.request import SearchPlan, candidates_for
from semantik_pipeline.search.rerank_choice import ChosenReranker, read_by
from semantik_pipeline.search.rerank_options import reranker_options
from semantik_pipeline.search.rerank_slices import RerankOutcome, score_within
from semantik_pipeline.search.stored_vectors import Compared, ReadVectors

#: Seconds per passage of each plugin in its last search.
_paces: weakref.WeakKeyDictionary[Any, float] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, kw_only=True)
class _Ready:
    """A loaded reranker at its ``place`` in the chain, and its declared limits."""

    id: str
    place: int
    plugin: Any
    capabilities: RerankerCapabilities


def rerank(
    host: Any,
    plan: SearchPlan,
    candidates: Sequence[Candidate],
    embedding: Mapping[str, Any] | None = None,
    vectors: ReadVectors | None = None,
) -> Reranking:
    """Run the plan's rerankers in order on the best candidates, within one deadline, and blend their scores.

    The first reads ``plan.to_rerank`` candidates, each further one fewer of the best so far (``read_by``), and none
    more than it declares to be worth reading. Each gets its part of the time that is left; loading is not part of the
    deadline. A reranker that can't be loaded, fails or runs out of time is reported, and the next one continues with
    the order as it is. ``embedding`` is the collection's embedder, whose model a reranker may share. ``vectors`` reads
    the candidates' vectors, for rerankers that compare them. Raises PluginNotFoundError only for a reranker that the
    query names and that is not loaded.
    """
    ready, reports, warnings = _load(host, plan, embedding)
    ranked = unranked(candidates).ranked
    end = time.monotonic() + plan.rerank_deadline
    for place, one in enumerate(ready):
        seconds = max(0.0, end - time.monotonic()) / (len(ready) - place)
        ranked, report, said = _rerank_by(host, plan, one, ranked, seconds, vectors)
        reports[one.place] = report
        warnings += said
    return Reranking(ranked=ranked, reports=[reports[place] for place in sorted(reports)], warnings=warnings)


def _load(
    host: Any, plan: SearchPlan, embedding: Mapping[str, Any] | None
) -> tuple[list[_Ready], dict[int, RerankerReport], list[str]]:
    """Load the chain. Returns the loaded rerankers, and for the others reports by place in the chain, and warnings."""
    ready: list[_Ready] = []
    reports: dict[int, RerankerReport] = {}
    warnings: list[str] = []
    for place, chosen in enumerate(plan.rerankers):
        try:
            ready.append(_loaded(host, chosen, place, embedding))
        except Exception as error:
            # A plugin may raise anything while it loads; the search continues with the others, or in the fused order.
            if chosen.named and isinstance(error, PluginNotFoundError):
                raise
            reason = f"not available ({_told(error)})"
            reports[place] = RerankerReport(id=chosen.plugin, scored=0, candidates=0, reason=reason)
            warnings.append(f"not reranked: {chosen.plugin} is {reason}")
    return ready, reports, warnings


def _loaded(host: Any, chosen: ChosenReranker, place: int, embedding: Mapping[str, Any] | None) -> _Ready:
    options = reranker_options(host, chosen.plugin, chosen.options, embedding)
    plugin = host.instance(chosen.plugin, options, kind="reranker")
    capabilities = host.call(plugin.get_limits)
    if not isinstance(capabilities, RerankerCapabilities):
        capabilities = RerankerCapabilities()
    return _Ready(id=chosen.plugin, place=place, plugin=plugin, capabilities=capabilities)


def _rerank_by(
    host: Any, plan: SearchPlan, one: _Ready, before: list[Ranked], seconds: float, vectors: ReadVectors | None
) -> tuple[list[Ranked], RerankerReport, list[str]]:
    """Run one reranker. Returns the order after it, its report, and warnings."""
    began = time.monotonic()
    chosen = [entry.candidate for entry in before[: _to_read(plan, one)]]
    limits = one.capabilities
    query = cut(plan.text, estimate_tokens([plan.text])[0], limits.max_query_length)
    texts = [_passage(candidate, limits.max_doc_length) for candidate in chosen]
    method = until(began + seconds, one.plugin.rerank)
    about = [_about(candidate) for candidate in chosen]
    compared = Compared(
        chosen, vectors if accepted(one.plugin.rerank, {"vectors": None, "feedback_vectors": None}) else None
    )

    def score(part: slice) -> Any:
        return host.call(method, query, texts[part], metadata=about[part], **compared.of(part))

    outcome = score_within(seconds, score, len(texts), limits, known_pace(one.plugin), of=(one.id, one.plugin))
    know_pace(one.plugin, outcome.pace)
    ranked = blend(before, outcome.scores, plan.rerank_weight, reranker=one.id, calibrated=limits.calibrated)
    report = RerankerReport(
        id=one.id,
        scored=len(outcome.scores),
        candidates=len(chosen),
        duration_ms=round((time.monotonic() - began) * 1000, 2),
        reason=_reason(one.id, outcome, len(chosen)),
    )
    unread = _unread(one, query != plan.text, chosen, texts) if outcome.scores else []
    return ranked, report, [*unread, *_warnings(report, outcome, several=len(plan.rerankers) > 1)]


def _to_read(plan: SearchPlan, one: _Ready) -> int:
    """Return how many candidates the reranker reads: no more than it declares to be worth reading, unless the caller
    chose the number."""
    most = read_by(one.place, plan.to_rerank)
    if plan.reranked_for is None:
        return most
    return min(most, candidates_for(plan.reranked_for, one.capabilities.candidates_per_hit))


def known_pace(plugin: Any) -> float | None:
    """Return the plugin's seconds per passage in its last search; None if it is unknown."""
    with suppress(TypeError):  # a plugin that is not hashable or not weakly referenceable can't be a key
        return _paces.get(plugin)
    return None


def know_pace(plugin: Any, pace: float | None) -> None:
    with suppress(TypeError):
        if pace is not None:
            _paces[plugin] = pace


def cut(text: str, tokens: int, limit: int) -> str:
    """Return the beginning of a text that has ``tokens`` tokens, cut to about ``limit`` tokens."""
    return text if tokens <= limit else text[: max(1, len(text) * limit // tokens)]


def _passage(candidate: Candidate, limit: int) -> str:
    text = candidate.payload.get("text") or ""
    return cut(text, candidate.payload.get("token_count") or 0, limit)


def _unread(one: _Ready, query_cut: bool, chosen: Sequence[Candidate], texts: Sequence[str]) -> list[str]:
    """Return warnings about texts that were cut to the reranker's declared limits (invariant 13)."""
    limits, told = one.capabilities, []
    if query_cut:
        told.append(f"{one.id} read the beginning of the query, about {limits.max_query_length:,} tokens")
    shorter = sum(len(text) < len(entry.payload.get("text") or "") for entry, text in zip(chosen, texts, strict=True))
    if shorter:
        passages = f"{shorter} of {len(texts)} passages"
        told.append(f"{one.id} read the beginnings of {passages}, about {limits.max_doc_length:,} tokens each")
    return told


def _about(candidate: Candidate) -> dict[str, Any]:
    """Return what a reranker gets about a passage besides its text."""
    known = ("title", "section", "page", "document", "media_type", "language")
    return {name: candidate.payload[name] for name in known if candidate.payload.get(name) is not None}


def _reason(plugin_id: str, outcome: RerankOutcome, due: int) -> str | None:
    if len(outcome.scores) >= due:
        return None
    if outcome.reason == DEADLINE:
        return DEADLINE
    return f"{plugin_id}: {outcome.reason}" if outcome.reason else f"{plugin_id} gave no usable score for the others"


def _warnings(report: RerankerReport, outcome: RerankOutcome, *, several: bool) -> list[str]:
    """Return warnings such as ``reranked 48 of 100: deadline``, and one for each kind of bad result.

    With ``several`` rerankers, the warning about the deadline names the reranker.
    """
    warnings = [f"reranker {report.id}: {violation}" for violation in dict.fromkeys(outcome.warnings)]
    if report.reason:
        by = f" by {report.id}" if several and report.reason == DEADLINE else ""
        warnings.append(f"reranked {report.scored} of {report.candidates}{by}: {report.reason}")
    return warnings


def _told(error: Exception) -> str:
    return str(error) or type(error).__name__
