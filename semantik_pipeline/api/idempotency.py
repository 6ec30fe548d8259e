"""``Idempotency-Key``: a request that is sent twice under one key is done once, and answered twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import Header, Request, Response
from pydantic import BaseModel

from semantik_pipeline.contracts.auth import Principal
from semantik_pipeline.ledger import idempotency
from semantik_pipeline.ledger.idempotency import Answer
from semantik_pipeline.runtime import Runtime

Model = TypeVar("Model", bound=BaseModel)

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="Names this request, for a day: sent again under it, it gets the same answer and changes nothing."
        " Another request under it is refused (422), and one that is in hand too (409).",
    ),
]


def once(
    request: Request,
    caller: Principal,
    key: str | None,
    asked: Any,
    model: type[Model],
    response: Response,
    act: Callable[[], Model],
) -> Model:
    """What ``act`` answers, or answered before under this key. ``asked``: a JSON value that is another for another
    request to this path. A request that failed is forgotten: it has changed nothing."""
    if key is None:
        return act()
    runtime: Runtime = request.app.state.runtime
    with runtime.ledger.write() as tx:
        before = idempotency.begin(tx, caller.name, key, _hash(request, asked))
    if before is not None:
        response.status_code = before.status
        response.headers.update(before.body["headers"])
        response.headers["Idempotency-Replayed"] = "true"
        return model.model_validate(before.body["answer"])
    try:
        answer = act()
    except BaseException:
        with runtime.ledger.write() as tx:
            idempotency.forget(tx, caller.name, key)
        raise
    kept = {name: response.headers[name] for name in ("location",) if name in response.headers}
    body = {"answer": answer.model_dump(mode="json"), "headers": kept}
    with runtime.ledger.write() as tx:
        idempotency.keep(tx, caller.name, key, Answer(status=response.status_code or 200, body=body))
    return answer


def _hash(request: Request, asked: Any) -> str:
    parts = [request.method, request.url.path, str(request.url.query), asked]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()
