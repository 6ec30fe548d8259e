"""``Idempotency-Key``: a request that is sent twice with the same key is executed once and answered twice."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

from fastapi import Header, Request, Response
from pydantic import BaseModel

from semantik_pipeline.contracts.auth import Principal
from semantik_pipeline.ledger.access import idempotency
from semantik_pipeline.ledger.access.idempotency import Answer
from semantik_pipeline.runtime import Runtime

log = logging.getLogger(__name__)

Model = TypeVar("Model", bound=BaseModel)

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="Unique name of the request, valid for a day. A repeated request gets the first response again and"
        " changes nothing. It is refused while the first one is in progress (409). A different request with the same"
        " key is refused, too (422).",
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
    """The answer of ``act``, or the answer that was stored under this key. ``asked`` is a JSON value that differs
    between different requests to this path. A failed request is forgotten, because it has changed nothing."""
    if key is None:
        return act()
    runtime: Runtime = request.app.state.runtime
    with runtime.ledger.write() as tx:
        before = idempotency.begin(tx, caller.name, key, _hash(request, asked))
    if isinstance(before, Answer):
        response.status_code = before.status
        response.headers.update(before.body["headers"])
        response.headers["Idempotency-Replayed"] = "true"
        return model.model_validate(before.body["answer"])
    mine = (caller.name, key, before)
    try:
        with _in_hand(runtime, mine):
            answer = act()
    except BaseException:
        with runtime.ledger.write() as tx:
            idempotency.forget(tx, *mine)
        raise
    kept = {name: response.headers[name] for name in ("location",) if name in response.headers}
    body = {"answer": answer.model_dump(mode="json"), "headers": kept}
    with runtime.ledger.write() as tx:
        idempotency.keep(tx, *mine, Answer(status=response.status_code or 200, body=body))
    return answer


@contextmanager
def _in_hand(runtime: Runtime, mine: tuple[str, str, str]) -> Iterator[None]:
    """Keep the request's row alive while the request is in progress. It may take longer than IN_HAND seconds, after
    which an unfinished request counts as one whose process died."""
    done = threading.Event()

    def renew() -> None:
        while not done.wait(idempotency.IN_HAND / 4):
            try:
                with runtime.ledger.write() as tx:
                    idempotency.renew(tx, *mine)
            except Exception as error:  # the next attempt may succeed
                log.warning("The idempotency key of a request in progress could not be renewed: %s", error)

    renewing = threading.Thread(target=renew, name="in-hand", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        done.set()
        renewing.join()


def _hash(request: Request, asked: Any) -> str:
    parts = [request.method, request.url.path, str(request.url.query), asked]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()
