"""verify: compares ledger and store point by point. repair: makes the store agree with the ledger."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from semantik_pipeline.documents import StoredPoint
from semantik_pipeline.ledger.access import audit_trail
from semantik_pipeline.ledger.catalog import collections
from semantik_pipeline.ledger.catalog.collections import Generation
from semantik_pipeline.ledger.generations import comparison
from semantik_pipeline.ledger.operations import items, lifecycle
from semantik_pipeline.ledger.queue import fair_queue
from semantik_pipeline.search.completeness import shortfall

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

#: Number of points in one page of the store's listing, and of ids in one statement.
PAGE = 1000

#: Maximum number of documents that a report names.
EXAMPLES = 10


@dataclass(kw_only=True)
class GenerationReport:
    """The differences in one generation: documents with missing or stale points, and points without a document."""

    generation: Generation
    since: float = 0.0  # database clock: documents that changed after the start of their slice are not compared
    documents: int = 0
    expected: int = 0
    found: int = 0
    missing: int = 0
    orphaned: int = 0
    stale: int = 0
    pending: int = 0
    damaged: dict[int, str] = field(default_factory=dict)  # document id -> unique id, or ""
    orphans: list[tuple[str, int | None]] = field(default_factory=list)  # (point id, its epoch)
    compared: int | None = None  # all documents up to this id have been compared; None during a slice


@dataclass(frozen=True, kw_only=True)
class VerificationReport:
    """The reports of all compared generations, and their sums."""

    generations: list[GenerationReport]

    @property
    def clean(self) -> bool:
        return not any(one.missing or one.orphaned or one.stale for one in self.generations)

    @property
    def examples(self) -> list[str]:
        """The unique ids of some damaged documents."""
        return [name for one in self.generations for name in one.damaged.values() if name][:EXAMPLES]

    def to_dict(self) -> dict[str, Any]:
        def total(name: str) -> int:
            return sum(getattr(one, name) for one in self.generations)

        return {
            "documents": total("documents"),
            "points_expected": total("expected"),
            "points_found": total("found"),
            "missing": total("missing"),
            "orphaned": total("orphaned"),
            "stale": total("stale"),
            "pending": total("pending"),
        }


def verify(runtime: Runtime, collection: str | None = None) -> VerificationReport:
    """Compare the ledger with the store, for one collection or all.

    *missing*: a chunk of an indexed document has no point. *orphaned*: a point belongs to no chunk. *stale*: a point
    is older than its chunk or differs from it. Documents that are being processed are *pending* and not compared.
    """
    with runtime.ledger.read() as tx:
        wanted = collections.get_collection(tx, collection).id if collection else None
        found = collections.list_generations(tx, wanted)
    return VerificationReport(generations=[_verify_generation(runtime, generation) for generation in found])


def verify_part(
    runtime: Runtime, collection: str, *, begin: tuple[int, int] | None, seconds: float
) -> tuple[VerificationReport, tuple[int, int] | None]:
    """Run :func:`verify` in parts, for callers that must answer soon: about ``seconds`` seconds, at least one slice.

    Returns the report of this part and the ``begin`` of the next part, or None if everything was compared. ``begin`` is
    (generation id, id of the last compared document).
    """
    until = time.monotonic() + seconds
    with runtime.ledger.read() as tx:
        wanted = collections.get_collection(tx, collection).id
        found = sorted(collections.list_generations(tx, wanted), key=lambda generation: generation.id)
    generation_id, after = begin or (0, 0)
    reports = []
    for generation in found:
        if generation.id < generation_id:
            continue
        report = GenerationReport(generation=generation)
        reports.append(report)
        began = after if generation.id == generation_id else 0
        for _ in comparing(runtime, report, after=began or None):
            if report.compared is not None and time.monotonic() >= until:
                return VerificationReport(generations=reports), (generation.id, report.compared)
        if time.monotonic() >= until and generation is not found[-1]:
            return VerificationReport(generations=reports), (generation.id + 1, 0)
    return VerificationReport(generations=reports), None


def _verify_generation(runtime: Runtime, generation: Generation) -> GenerationReport:
    report = GenerationReport(generation=generation)
    for _ in comparing(runtime, report):
        pass
    return report


def comparing(runtime: Runtime, report: GenerationReport, *, after: int | None = None) -> Iterator[None]:
    """Fill in the report of its generation, one page of points between two yields.

    Documents are compared in slices of their ids, so that memory depends on the slice and on the damage, not on the
    corpus. It begins ``after`` a document's id; between two slices, ``report.compared`` is the last compared id.
    """
    generation_id = report.generation.id
    while True:
        report.compared = None
        with runtime.ledger.read() as tx:
            report.since = comparison.clock(tx)
            upto = comparison.slice_end(tx, generation_id, after=after)
        matched: Counter[int] = Counter()
        for points in _pages(runtime, report.generation, _of_documents(after, upto)):
            _compare(runtime, report, points, matched)
            yield
        _count(runtime, report, after, upto, matched)
        if upto is None:
            return
        after = report.compared = upto
        yield


def _count(
    runtime: Runtime, report: GenerationReport, after: int | None, upto: int | None, matched: Counter[int]
) -> None:
    """Compare, for the documents of a slice, the number of points found with the number expected."""
    generation_id = report.generation.id
    with runtime.ledger.read() as tx:
        counts = comparison.point_counts(tx, generation_id, after=after, upto=upto)
        short = [document_id for document_id, _, expected in counts if expected > matched[document_id]]
        moving = comparison.in_flight(tx, generation_id, short, since=report.since) if short else set()
    for document_id, unique_id, expected in counts:
        report.documents += 1
        report.expected += expected
        missing = expected - matched[document_id]
        if missing > 0 and document_id in moving:
            report.pending += 1
        elif missing > 0:
            report.missing += missing
            report.damaged[document_id] = unique_id
        elif document_id in report.damaged:
            report.damaged[document_id] = unique_id


def _of_documents(after: int | None, upto: int | None) -> dict[str, Any] | None:
    """Return the filter for points of documents with ids above ``after``, up to ``upto``.

    The last slice (``upto`` None) also includes points of newer documents and of no document.
    """
    if upto is None and after is None:
        return None
    bounds = {name: value for name, value in (("gt", after), ("lte", upto)) if value is not None}
    within = {"key": "document_id", "range": bounds}
    return {"must": [within]} if upto is not None else {"should": [within, {"is_empty": {"key": "document_id"}}]}


def _pages(runtime: Runtime, generation: Generation, only: dict[str, Any] | None) -> Iterator[list[StoredPoint]]:
    """Yield pages of a generation's points that match the filter; nothing if its index is lost."""
    index, after = runtime.existing_index(generation), None
    while index is not None:
        fields = ["document_id", "epoch", "signature"]
        points, after = runtime.host.call(
            runtime.store.scroll, index, filter=only, fields=fields, after=after, limit=PAGE
        )
        yield points
        if after is None:
            return


def _compare(runtime: Runtime, report: GenerationReport, points: list[StoredPoint], matched: Counter[int]) -> None:
    """Compare a page of the store's points with the ledger."""
    generation_id = report.generation.id
    report.found += len(points)
    with runtime.ledger.read() as tx:
        known = comparison.expected(tx, generation_id, [point.id for point in points])
        wrong = [point for point in points if not _agrees(point, known.get(point.id))]
        owners = {known[point.id].document_id if point.id in known else _owner(point) for point in wrong}
        moving = comparison.in_flight(tx, generation_id, sorted(owners), since=report.since) if owners else set()
    matched.update(known[point.id].document_id for point in points if point.id in known)
    for point in wrong:
        wanted = known.get(point.id)
        if (wanted.document_id if wanted else _owner(point)) in moving:
            continue
        if wanted is None:
            report.orphaned += 1
            report.orphans.append((point.id, point.payload.get("epoch")))
        else:
            report.stale += 1
            report.damaged.setdefault(wanted.document_id, "")


def _owner(point: StoredPoint) -> int:
    return int(point.payload.get("document_id", 0))


def _agrees(point: StoredPoint, wanted: comparison.Expected | None) -> bool:
    """Whether a point matches the ledger and is not older."""
    if wanted is None:
        return False
    return point.payload.get("signature") == wanted.signature and point.payload.get("epoch", -1) >= wanted.epoch


def repair(runtime: Runtime, report: VerificationReport) -> list[int]:
    """Remove orphaned points and send damaged documents through ``upsert`` again.

    Each generation has its own operations; their ids are returned, for waiting.
    """
    begun: list[int] = []
    for one in report.generations:
        _remove_orphans(runtime, one)
        operation_id: int | None = None
        damaged = list(one.damaged)
        for start in range(0, len(damaged), PAGE):
            some = damaged[start : start + PAGE]
            with runtime.ledger.write() as tx:
                fair_queue.owners(tx, some)  # lock order: before the operation
                if operation_id is None or not lifecycle.is_open(
                    tx, operation_id
                ):  # it may have ended with the previous documents
                    detail = {items.GENERATION: one.generation.id}
                    operation_id = lifecycle.begin(tx, one.generation.collection_id, "repair", detail=detail)
                    begun.append(operation_id)
                comparison.upsert_again(tx, one.generation.id, some, operation_id=operation_id)
            runtime.ring("upsert")
        if one.damaged or one.orphans:
            _record(runtime, one, operation_id)
    return begun


def _remove_orphans(runtime: Runtime, report: GenerationReport) -> None:
    """Delete the orphans that are unchanged: a point that was written again meanwhile has a newer epoch and stays."""
    by_epoch: dict[int | None, list[str]] = {}
    for point_id, epoch in report.orphans:
        by_epoch.setdefault(epoch, []).append(point_id)
    for epoch, ids in by_epoch.items():
        seen = {"is_empty": {"key": "epoch"}} if epoch is None else {"key": "epoch", "range": {"lte": epoch}}
        for start in range(0, len(ids), PAGE):
            some, only = ids[start : start + PAGE], {"must": [seen]}
            runtime.host.call(runtime.store.delete, report.generation.index, ids=some, filter=only)


def _record(runtime: Runtime, report: GenerationReport, operation_id: int | None) -> None:
    detail = {
        "generation": report.generation.id,
        "documents": len(report.damaged),
        "orphaned": len(report.orphans),
        "operation": operation_id,
    }
    with runtime.ledger.write() as tx:
        audit_trail.record(tx, event="collection.repair", subject=report.generation.collection, detail=detail)


def lacks_points(runtime: Runtime, collection: str, *, wrote: bool) -> bool:
    """Whether the index that search reads has fewer points than the ledger expects.

    ``wrote``: this process has the index open already. Otherwise the index is not opened, because that takes longer
    than everything else, and only a missing index is detected.
    """
    view = runtime.ledger.search_view(collection)
    if not wrote and runtime.host.call(runtime.store.has_index, view.index):
        return False
    return shortfall(runtime, view.generation_id) is not None


def restore(runtime: Runtime, collection: str, wait: Callable[[int], str | None]) -> int:
    """Write the points that the collection's indexes have lost, from the ledger, without embedding anything.

    ``wait`` is called with each operation and returns its outcome. Returns the number of points written.
    """
    report = verify(runtime, collection)
    outcomes = [wait(operation) for operation in repair(runtime, report)]
    left = 0 if set(outcomes) <= {"succeeded"} else verify(runtime, collection).to_dict()["missing"]
    return max(0, report.to_dict()["missing"] - left)
