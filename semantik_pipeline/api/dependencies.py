"""The parameters that routes get: the runtime, and a caller that has the role which the route requires.

The type of a route's ``caller`` parameter says who may call the route. ``routing.py`` refuses routes without one.
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
    """The rule of a route: which role its callers need, and where.

    With ``everywhere``, they need the role in the whole installation. With ``of``, they need it in the collection that
    this path parameter names. Otherwise the route itself calls ``caller.require(role, collection)`` for the collection
    concerned, or shows only what the caller may see. If ``unless(settings)`` is true, everybody may call the route.

    A caller with principals, who sees only some documents, may not change anything that can contain other documents: a
    source, a collection or an operation. ``documents=True`` allows such callers, because the route checks every
    document against ``caller.principals``.
    """

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
        """Raise Forbidden unless the rule admits the caller. ``path`` holds the path parameters."""
        if self.of is not None:
            caller.require(self.role, path[self.of])
        else:
            (caller if self.everywhere else replace(caller, collections=None)).require(self.role)
        if self.role != "reader" and not self.documents and caller.principals is not None:
            raise Forbidden(
                f"This can affect documents that {caller.name} may not see.", "Use a key without principals."
            )

    async def __call__(self, request: Request) -> Principal | None:
        return getattr(request.state, "caller", None)


#: Any authenticated caller. The route shows only the caller's collections: ``caller.require("reader", collection)``.
Reader = Annotated[Principal, Depends(Allowed("reader"))]
#: Callers that change sources or operations. The route calls ``caller.require("writer", collection)``.
Writer = Annotated[Principal, Depends(Allowed("writer"))]
#: Callers that change single documents. The route also checks that the caller may see each document.
DocumentWriter = Annotated[Principal, Depends(Allowed("writer", documents=True))]
#: Callers that read, change or delete the collection in the path (``name``). The route has nothing left to check.
CollectionReader = Annotated[Principal, Depends(Allowed("reader", of="name"))]
CollectionWriter = Annotated[Principal, Depends(Allowed("writer", of="name"))]
CollectionAdmin = Annotated[Principal, Depends(Allowed("admin", of="name"))]
#: Callers that change the installation: plugins, workers, keys. A key limited to some collections is not enough.
Operator = Annotated[Principal, Depends(Allowed("admin", everywhere=True))]
