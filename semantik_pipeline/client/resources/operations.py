"""Operations: listed, followed, steered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, overload
from uuid import uuid4

from semantik_pipeline.client.answers import (
    Operation,
    OperationAccepted,
    OperationActionResult,
    OperationDetail,
    OperationList,
    OperationProgress,
)
from semantik_pipeline.client.calls import Call, Pages, Resource, S, request

if TYPE_CHECKING:
    from semantik_pipeline.client.clients import AsyncClient, Client


class _Follow:
    """A method that reads a stream of server-sent events."""

    operation = "operations_events"
    method, path = "GET", "/operations/{operation}/events"

    @overload
    def __get__(self, resource: None, owner: Any) -> _Follow: ...

    @overload
    def __get__(self, resource: Resource[Client], owner: Any) -> Callable[[str | int], Iterator[OperationProgress]]: ...

    @overload
    def __get__(
        self, resource: Resource[AsyncClient], owner: Any
    ) -> Callable[[str | int], AsyncIterator[OperationProgress]]: ...

    def __get__(self, resource: Any, owner: Any) -> Any:
        if resource is None:
            return self

        def follow(operation: str | int) -> Any:
            """How far it is whenever something moved, to its end. A connection that is lost is made again."""
            call = Call[Any](at={"operation": operation}, method=self.method, path=self.path, repeatable=True)
            return resource._client.events(call)

        return follow


class Operations(Resource[S]):
    """``client.operations``. An operation is named as it is called (``sync-12``) or by its number."""

    @request("operations_list", "GET /operations")
    def list(
        self,
        *,
        collection: str | None = None,
        kind: str | None = None,
        ended: bool | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Call[OperationList]:
        """A page of what runs and what has ended, newest first."""
        wanted = {"collection": collection, "kind": kind, "ended": ended}
        return Call(query={**wanted, "limit": limit, "cursor": cursor})

    each: Pages[..., Operation] = Pages(list, "operations")

    @request("operations_show", "GET /operations/{operation}")
    def show(self, operation: str | int) -> Call[OperationDetail]:
        """How far one is, and what it left undone."""
        return Call(at={"operation": operation})

    follow = _Follow()

    @request("operations_pause", "POST /operations/{operation}/pause")
    def pause(self, operation: str | int) -> Call[OperationActionResult]:
        """Let nobody take what it has left, until it is resumed."""
        return Call(at={"operation": operation})

    @request("operations_resume", "POST /operations/{operation}/resume")
    def resume(self, operation: str | int) -> Call[OperationActionResult]:
        """Let a paused one go on."""
        return Call(at={"operation": operation})

    @request("operations_cancel", "POST /operations/{operation}/cancel")
    def cancel(self, operation: str | int) -> Call[OperationActionResult]:
        """Stop it; documents that are not finished are parked where they are."""
        return Call(at={"operation": operation})

    @request("operations_retry", "POST /operations/{operation}/retry")
    def retry(self, operation: str | int, *, key: str | None = None) -> Call[OperationAccepted]:
        """Run again what it left undone, as an operation of its own."""
        return Call(at={"operation": operation}, headers={"Idempotency-Key": key or str(uuid4())})
