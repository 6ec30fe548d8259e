"""The rerankers' part of a search: find them, run one after the other, blend what they say.

Nothing that a reranker does or lacks fails a search: the order before it answers, with a warning.
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

#: Seconds that a passage took a plugin in its last search.
_paces: weakref.WeakKeyDictionary[Any, float] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, kw_only=True)
class _Ready:
    """A reranker that is loaded, and the limits that are kept for it."""

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
    """Let the plan's rerankers, in their order, score the best candidates within one deadline, and blend.

    The first reads ``plan.to_rerank``, each further one the best of what the one before gave (``read_by``), none more
    than it declares to be worth reading, with its part of the time that is left. One that can't be loaded, fails or
    runs out of time is told of, and the next goes on with the order as it is. ``embedding`` is the collection's
    embedder, whose model a reranker may share; ``vectors`` reads those of candidates, for rerankers that compare. Loading is
    not part of the deadline. Raises PluginNotFoundError only for a reranker that the caller named and that is not loaded.
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
    """Those that can be had; reports by place in the chain, and warnings, of the others."""
    ready: list[_Ready] = []
    reports: dict[int, RerankerReport] = {}
    warnings: list[str] = []
    for place, chosen in enumerate(plan.rerankers):
        try:
            ready.append(_loaded(host, chosen, place, embedding))
        except Exception as error:
            # Whatever a plugin raises while it loads, the others and the fused order still answer.
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
    """The order after this reranker, its report, and warnings."""
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
    """How many candidates it reads: what the search says, else no more than it declares to be worth reading."""
    most = read_by(one.place, plan.to_rerank)
    if plan.reranked_for is None:
        return most
    return min(most, candidates_for(plan.reranked_for, one.capabilities.candidates_per_hit))


def known_pace(plugin: Any) -> float | None:
    """Seconds that a passage took the plugin in its last search; None: it had none, or none is kept."""
    with suppress(TypeError):  # a class of the right shape that can't be a key
        return _paces.get(plugin)
    return None


def know_pace(plugin: Any, pace: float | None) -> None:
    with suppress(TypeError):
        if pace is not None:
            _paces[plugin] = pace


def cut(text: str, tokens: int, limit: int) -> str:
    """The beginning of a text of that many tokens that has about ``limit`` of them."""
    return text if tokens <= limit else text[: max(1, len(text) * limit // tokens)]


def _passage(candidate: Candidate, limit: int) -> str:
    text = candidate.payload.get("text") or ""
    return cut(text, candidate.payload.get("token_count") or 0, limit)


def _unread(one: _Ready, query_cut: bool, chosen: Sequence[Candidate], texts: Sequence[str]) -> list[str]:
    """What the reranker was not given, since it says that it takes no more: invariant 13."""
    limits, told = one.capabilities, []
    if query_cut:
        told.append(f"{one.id} read the beginning of the query, about {limits.max_query_length:,} tokens")
    shorter = sum(len(text) < len(entry.payload.get("text") or "") for entry, text in zip(chosen, texts, strict=True))
    if shorter:
        passages = f"{shorter} of {len(texts)} passages"
        told.append(f"{one.id} read the beginnings of {passages}, about {limits.max_doc_length:,} tokens each")
    return told


def _about(candidate: Candidate) -> dict[str, Any]:
    """What a reranker may know of a passage beside its text."""
    known = ("title", "section", "page", "document", "media_type", "language")
    return {name: candidate.payload[name] for name in known if candidate.payload.get(name) is not None}


def _reason(plugin_id: str, outcome: RerankOutcome, due: int) -> str | None:
    if len(outcome.scores) >= due:
        return None
    if outcome.reason == DEADLINE:
        return DEADLINE
    return f"{plugin_id}: {outcome.reason}" if outcome.reason else f"{plugin_id} gave no usable score for the others"


def _warnings(report: RerankerReport, outcome: RerankOutcome, *, several: bool) -> list[str]:
    """``reranked 48 of 100: deadline``, and a sentence for each kind of bad result; of several rerankers the deadline's
    says which."""
    warnings = [f"reranker {report.id}: {violation}" for violation in dict.fromkeys(outcome.warnings)]
    if report.reason:
        by = f" by {report.id}" if several and report.reason == DEADLINE else ""
        warnings.append(f"reranked {report.scored} of {report.candidates}{by}: {report.reason}")
    return warnings


def _told(error: Exception) -> str:
    return str(error) or type(error).__name__
