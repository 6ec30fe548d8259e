"""What routes are given: the runtime, and the caller, who has the role that the route asks for.

A route says who may call it by the type of its ``caller``; a route that says nothing can't be made (``routing.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any

from fastapi import Depends, Request

from semantik_pipeline.contracts.auth import Principal
from semantik_pipeline.errors import Forbidden
from semantik_pipeline.runtime import Runtime
from semantik_pipeline.settings import Settings


async def _runtime(request: Request) -> Runtime:
    return request.app.state.runtime


TheRuntime = Annotated[Runtime, Depends(_runtime)]


class Allowed:
    """The rule of a route: callers of this role. ``everywhere``: in the whole installation; ``of``: in the collection
    that this part of the path names; else the route itself calls ``caller.require(role, collection)`` for the collection
    that it is about, or shows what is the caller's only. ``unless`` these settings let everybody in, whoever calls.

    Whoever sees some documents only changes nothing as a whole, in which there may be others: no source, collection or
    operation. ``documents``: the route is about documents that it holds against ``caller.principals`` one by one."""

    def __init__(
        self,
        role: str,
        *,
        everywhere: bool = False,
        of: str | None = None,
        documents: bool = False,
        unless: Callable[[Settings], bool] = lambda settings: False,
    ) -> None:
        self.role = role
        self.everywhere = everywhere
        self.of = of
        self.documents = documents
        self.unless = unless

    def check(self, caller: Principal, path: Mapping[str, Any]) -> None:
        """Raise Forbidden unless the caller may; ``path`` are the parts of it that have names."""
        if self.of is not None:
            caller.require(self.role, path[self.of])
        else:
            (caller if self.everywhere else replace(caller, collections=None)).require(self.role)
        if self.role != "reader" and not self.documents and caller.principals is not None:
            raise Forbidden(
                f"This concerns more than the documents that {caller.name} sees.", "Use a key without principals."
            )

    async def __call__(self, request: Request) -> Principal | None:
        return getattr(request.state, "caller", None)


#: Whoever has a key. What it shows is of the caller's collections: ``caller.require("reader", collection)``.
Reader = Annotated[Principal, Depends(Allowed("reader"))]
#: Who changes sources and what is built of them; the route calls ``caller.require("writer", collection)``.
Writer = Annotated[Principal, Depends(Allowed("writer"))]
#: Who changes single documents; the route also asks whether each is open to the caller.
DocumentWriter = Annotated[Principal, Depends(Allowed("writer", documents=True))]
#: Who reads, changes or removes the collection that the path names: nothing is left for the route to ask.
CollectionReader = Annotated[Principal, Depends(Allowed("reader", of="name"))]
CollectionWriter = Annotated[Principal, Depends(Allowed("writer", of="name"))]
CollectionAdmin = Annotated[Principal, Depends(Allowed("admin", of="name"))]
#: Who changes the installation: plugins, workers, keys. No key that is limited to some collections will do.
Operator = Annotated[Principal, Depends(Allowed("admin", everywhere=True))]
