"""The reranker's part of a search: find it, run it, blend what it says.

Nothing that a reranker does or lacks fails a search: the fused order answers, with a warning.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from semantik_pipeline.contracts import RerankerCapabilities
from semantik_pipeline.contracts.chunking import estimate_tokens
from semantik_pipeline.errors import PluginNotFoundError
from semantik_pipeline.search.blending import Reranking, blend, unranked
from semantik_pipeline.search.fusion import Candidate
from semantik_pipeline.search.request import SearchPlan
from semantik_pipeline.search.rerank_deadline import until
from semantik_pipeline.search.rerank_options import reranker_options
from semantik_pipeline.search.rerank_slices import RerankOutcome, score_within

#: How many of the best fused passages the reranker gets as feedback; more of them stray (builtin late_scoring.py).
FEEDBACK = 2


def rerank(
    host: Any, plan: SearchPlan, candidates: Sequence[Candidate], embedding: Mapping[str, Any] | None = None
) -> Reranking:
    """Let the plan's reranker score the best ``plan.to_rerank`` candidates within its deadline, and blend.

    ``embedding`` is the collection's embedder, whose model the reranker may share. Loading the plugin is not part of
    the deadline. Raises PluginNotFoundError only for a reranker that the caller named (``plan.reranker_named``) and
    that is not loaded.
    """
    assert plan.reranker is not None  # a plan without one is not reranked
    try:
        options = reranker_options(host, plan.reranker, plan.reranker_options, embedding)
        plugin = host.instance(plan.reranker, options, kind="reranker")
        capabilities = host.call(plugin.get_capabilities)
    except Exception as error:
        # Whatever a plugin raises while it loads, the fused order still answers.
        if plan.reranker_named and isinstance(error, PluginNotFoundError):
            raise
        return unranked(candidates, [f"not reranked: {plan.reranker} is not available ({_told(error)})"])
    if not isinstance(capabilities, RerankerCapabilities):
        capabilities = RerankerCapabilities()
    return _score_and_blend(host, plan, plugin, capabilities, candidates)


def _score_and_blend(
    host: Any, plan: SearchPlan, plugin: Any, capabilities: RerankerCapabilities, candidates: Sequence[Candidate]
) -> Reranking:
    chosen = candidates[: plan.to_rerank]
    query = cut(plan.text, estimate_tokens([plan.text])[0], capabilities.max_query_length)
    texts = [_passage(candidate, capabilities.max_doc_length) for candidate in chosen]
    method = until(time.monotonic() + plan.rerank_deadline, plugin.rerank)
    outcome = score_within(
        plan.rerank_deadline,
        lambda part, metadata: host.call(method, query, part, metadata=metadata, feedback=texts[:FEEDBACK]),
        texts,
        [_about(candidate) for candidate in chosen],
        capabilities,
    )
    return Reranking(
        ranked=blend(candidates, outcome.scores, plan.rerank_weight),
        reranked=bool(outcome.scores),
        warnings=_warnings(plan.reranker, outcome, len(chosen)),
    )


def cut(text: str, tokens: int, limit: int) -> str:
    """The beginning of a text of that many tokens that has about ``limit`` of them."""
    return text if tokens <= limit else text[: max(1, len(text) * limit // tokens)]


def _passage(candidate: Candidate, limit: int) -> str:
    text = candidate.payload.get("text") or ""
    return cut(text, candidate.payload.get("token_count") or 0, limit)


def _about(candidate: Candidate) -> dict[str, Any]:
    """What a reranker may know of a passage beside its text."""
    known = ("title", "section", "page", "document", "media_type", "language")
    return {name: candidate.payload[name] for name in known if candidate.payload.get(name) is not None}


def _warnings(plugin_id: str | None, outcome: RerankOutcome, due: int) -> list[str]:
    """``reranked 48 of 100: deadline``, and a sentence for each kind of bad result."""
    warnings = [f"reranker {plugin_id}: {violation}" for violation in dict.fromkeys(outcome.warnings)]
    if len(outcome.scores) < due:
        reason = outcome.reason or f"{plugin_id} gave no usable score for the others"
        reason = reason if reason == "deadline" else f"{plugin_id}: {reason}" if outcome.reason else reason
        warnings.append(f"reranked {len(outcome.scores)} of {due}: {reason}")
    return warnings


def _told(error: Exception) -> str:
    return str(error) or type(error).__name__
