"""From the scores of a document's chunks to the document's own. Pure."""

from __future__ import annotations

from collections.abc import Iterable

#: A chunk that is no better than this says nothing of its document beside the best one: all chunks share its words.
LEAST = 0.5

#: How much of what the best chunk leaves open the second one may add, and each next one of what the one before could.
#:
#: Measured, nDCG@10 without reranking. On Cranfield (1.4 chunks a document) 0.4413 with the best chunk alone, 0.4410 so.
#: On 120 modules' docstrings (68 chunks each): functions asked for by their first sentences 0.9109 and 0.9115, modules by
#: theirs 0.8931 and 0.9132. Sums without a floor give modules up to 0.9330, and cost Cranfield 0.006 to 0.05.
SHARE, DECAY = 0.5, 0.8


def document_score(scores: Iterable[float]) -> float:
    """How good a document is whose chunks have these scores (0..1, in any order); 0 for none.

    The best chunk counts whole, the next ones say how likely it is that it is no accident:
    ``1 - (1 - best) × Π (1 - SHARE × DECAY^i × over)`` over the others, best first, where ``over`` is a score's way from
    LEAST to 1. It stays within 0..1, no chunk makes a document worse, and documents with one good chunk keep their order.
    """
    best_first = sorted((min(1.0, max(0.0, score)) for score in scores), reverse=True)
    if not best_first:
        return 0.0
    open_still, share = 1 - best_first[0], SHARE
    for score in best_first[1:]:
        open_still *= 1 - share * max(0.0, (score - LEAST) / (1 - LEAST))
        share *= DECAY
    return 1 - open_still
