"""Operations: list, follow, pause, resume, cancel, retry."""

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
            """Yield the operation's progress on each change until it has finished. A lost connection is reopened."""
            call = Call[Any](at={"operation": operation}, method=self.method, path=self.path, repeatable=True)
            return resource._client.events(call)

        return follow


class Operations(Resource[S]):
    """``client.operations``. Operations are given by name (``sync-12``) or number."""

    @request("operations_list", "GET /operations")
    def list(
        self,
        *,
        collection: str | None = None,
        kind: str | None = None,
        finished: bool | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Call[OperationList]:
        """A page of operations, newest first."""
        wanted = {"collection": collection, "kind": kind, "finished": finished}
        return Call(query={**wanted, "limit": limit, "cursor": cursor})

    each: Pages[..., Operation] = Pages(list, "operations")

    @request("operations_show", "GET /operations/{operation}")
    def show(self, operation: str | int) -> Call[OperationDetail]:
        """An operation with its progress and its unfinished work."""
        return Call(at={"operation": operation})

    follow = _Follow()

    @request("operations_pause", "POST /operations/{operation}/pause")
    def pause(self, operation: str | int) -> Call[OperationActionResult]:
        """Pause an operation."""
        return Call(at={"operation": operation})

    @request("operations_resume", "POST /operations/{operation}/resume")
    def resume(self, operation: str | int) -> Call[OperationActionResult]:
        """Resume an operation."""
        return Call(at={"operation": operation})

    @request("operations_cancel", "POST /operations/{operation}/cancel")
    def cancel(self, operation: str | int) -> Call[OperationActionResult]:
        """Cancel an operation. Unfinished documents can be retried."""
        return Call(at={"operation": operation})

    @request("operations_retry", "POST /operations/{operation}/retry")
    def retry(self, operation: str | int, *, key: str | None = None) -> Call[OperationAccepted]:
        """Retry an operation's unfinished work, as a new operation."""
        return Call(at={"operation": operation}, headers={"Idempotency-Key": key or str(uuid4())})
