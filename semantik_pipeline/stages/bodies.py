"""Bodies in a bucket: read ahead of their use and stored together, because each call is a round trip."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from semantik_pipeline.concurrency import map_in_order
from semantik_pipeline.ledger.queue.work import Unit

if TYPE_CHECKING:
    from semantik_pipeline.blobs import Blobs
    from semantik_pipeline.runtime import Runtime

Result = TypeVar("Result")

#: Bytes of documents that are read ahead of their use. A larger document is read alone. What is read ahead is read
#: again if the claim is given back, as it is every few seconds while documents take long.
READ_AHEAD = 512_000

#: Bytes of bodies that wait to be stored together.
UNSTORED = 8 * 2**20


def read_ahead(
    runtime: Runtime, units: Iterable[Unit], read: Callable[[Unit], Result]
) -> Iterator[tuple[Unit, Result | Exception]]:
    """Yield each unit with ``read(unit)``, or with the error that it raised, in order.

    If the blobs are in a bucket, the next units are read meanwhile, in other threads of the process. Therefore ``read``
    should do no more than fetch bytes: what it computes would slow down the model.
    """

    def read_or_error(unit: Unit) -> Result | Exception:
        try:
            return read(unit)
        except Exception as error:
            return error

    return map_in_order(
        read_or_error, units, threads=runtime.blobs.concurrency, size=lambda unit: unit.size or 0, limit=READ_AHEAD
    )


class Unstored:
    """Bodies of documents that a connector loads one by one, stored together. A folder stores each at once."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._bodies: dict[str, bytes] = {}
        self._size = 0

    def add(self, key: str, body: bytes) -> None:
        """Keep a raw body until :meth:`store`, or until too much waits."""
        self._bodies[key] = body
        self._size += len(body)
        if self._size > UNSTORED or self._blobs.concurrency == 1:
            self.store()

    def store(self) -> None:
        """Store all that were added. Call before their documents are written to the ledger."""
        self._blobs.put_many("raw", self._bodies.items())
        self._bodies, self._size = {}, 0
