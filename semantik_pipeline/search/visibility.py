"""The last check before a hit is shown: the ledger knows what was deleted or superseded, the store may not yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from semantik_pipeline.search.fusion import Candidate


def document_ids(candidates: Iterable[Candidate]) -> set[int]:
    """The ledger's ids of the candidates' documents."""
    return {candidate.payload["document_id"] for candidate in candidates if "document_id" in candidate.payload}


def shown(candidates: Iterable[Candidate], epochs: Mapping[int, int]) -> list[Candidate]:
    """Those candidates, in order, whose document may be shown and that are not older than its indexed epoch.

    ``epochs`` maps the id of a document that may be shown to the epoch at which it was indexed.
    """
    return [candidate for candidate in candidates if _is_current(candidate, epochs)]


def _is_current(candidate: Candidate, epochs: Mapping[int, int]) -> bool:
    epoch = epochs.get(candidate.payload.get("document_id", -1))
    return epoch is not None and candidate.payload.get("epoch", -1) >= epoch
