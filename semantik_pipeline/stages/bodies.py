"""Reading the stored bodies of units: ahead of their use where each read is a round trip."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from semantik_pipeline.concurrency import map_in_order
from semantik_pipeline.ledger.queue.work import Unit

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

Result = TypeVar("Result")

#: Bytes of documents that are read ahead of their use. A larger document is read alone.
READ_AHEAD = 16 * 2**20


def read_ahead(
    runtime: Runtime, units: Iterable[Unit], read: Callable[[Unit], Result]
) -> Iterator[tuple[Unit, Result | Exception]]:
    """Yield each unit with ``read(unit)``, or with the error that it raised, in order.

    If the blobs are not on this machine, the next units are read meanwhile.
    """

    def read_or_error(unit: Unit) -> Result | Exception:
        try:
            return read(unit)
        except Exception as error:
            return error

    return map_in_order(
        read_or_error, units, threads=runtime.blobs.concurrency, size=lambda unit: unit.size or 0, limit=READ_AHEAD
    )
