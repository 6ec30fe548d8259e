"""Checks against the ledger which points may be shown: the store may not know yet that a document was deleted,
superseded or closed to the caller."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime


class Point(Protocol):
    """A candidate of a search or a point of the store, with ``document_id`` and ``epoch`` in its payload."""

    @property
    def payload(self) -> Mapping[str, Any]: ...


P = TypeVar("P", bound=Point)


def shown(runtime: Runtime, generation_id: int, points: Sequence[P], principals: Collection[str] | None) -> list[P]:
    """Return the points that may be shown, in order.

    Their document is not deleted and open to one of the ``principals`` or to everybody (``principals`` None: no limit),
    and they are not older than its indexed epoch.
    """
    ids = {point.payload["document_id"] for point in points if "document_id" in point.payload}
    epochs = runtime.ledger.visible(generation_id, ids, principals) if ids else {}
    return [point for point in points if _is_current(point.payload, epochs)]


def _is_current(payload: Mapping[str, Any], epochs: Mapping[int, int]) -> bool:
    epoch = epochs.get(payload.get("document_id", -1))
    return epoch is not None and payload.get("epoch", -1) >= epoch
