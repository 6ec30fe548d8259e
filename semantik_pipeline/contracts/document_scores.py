"""From the scores of a document's chunks to the document's own. Pure."""

from __future__ import annotations

from collections.abc import Iterable

#: How much of what the best chunk leaves open the second one may add, and each next one of what the one before could.
SHARE, DECAY = 0.5, 0.5


def document_score(scores: Iterable[float]) -> float:
    """How good a document is whose chunks have these scores (0..1, in any order); 0 for none.

    The best chunk counts whole, the next ones say how likely it is that it is no accident: 1 - (1 - best) × the product
    of (1 - SHARE × DECAY^i × score) over the others, best first. It stays within 0..1, no chunk makes a document worse,
    and of two documents with one chunk each the better one stays ahead.
    """
    best_first = sorted((min(1.0, max(0.0, score)) for score in scores), reverse=True)
    open_still, share = 1.0, 1.0
    for place, score in enumerate(best_first):
        open_still *= 1 - share * score
        share = SHARE if place == 0 else share * DECAY
    return 1 - open_still
