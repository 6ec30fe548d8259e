"""A search that the fleet's search workers answer: a request and a reply through the broker.

Who asks waits on its own clock. RabbitMQ drops a request that is older than that; from Redis one that nobody waits for
any more is taken and costs a search. It does not carry the time at which it is over, for no two hosts' clocks agree.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import Any

from semantik_pipeline import errors
from semantik_pipeline.documents import SearchHit
from semantik_pipeline.errors import PipelineError, ServiceUnavailable
from semantik_pipeline.queue import SEARCH, SEARCH_TASK, configure
from semantik_pipeline.search import SearchAnswer, SearchQuery, search
from semantik_pipeline.settings import Settings


def answered(runtime: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """On the worker: ``{"answer": ...}``, or ``{"error": {"type", "message", "hint"}}`` for an error of this project."""
    try:
        return {"answer": search(runtime, SearchQuery(**asked)).to_dict()}
    except PipelineError as error:
        return {"error": {"type": type(error).__name__, "message": error.message, "hint": error.hint}}


def ask(settings: Settings, query: SearchQuery) -> SearchAnswer:
    """Let a search worker answer. Raises what the search raised there, and ServiceUnavailable where none answers
    within ``search.patience`` seconds."""
    from celery import Celery
    from celery.exceptions import TimeoutError as NoAnswer

    patience = settings.search.patience
    with closing(Celery("semantik", set_as_current=False)) as app:
        configure(app, settings)
        try:
            sent = app.send_task(
                SEARCH_TASK, args=[asdict(query)], queue=SEARCH, expiration=patience, ignore_result=False
            )
            reply = sent.get(timeout=patience)
        except NoAnswer:
            raise ServiceUnavailable(
                f"No search worker answered within {patience:.0f} s.",
                "Start one (`semantik worker --profile search`), or set search.on to 'here'.",
            ) from None
        except OSError as error:  # and kombu's OperationalError, which is one
            raise ServiceUnavailable(f"The broker can't be asked: {error}") from None
    if "error" in reply:
        raise _rebuilt(**reply["error"])
    answer = reply["answer"]
    return SearchAnswer(**{**answer, "hits": [SearchHit(**hit) for hit in answer["hits"]]})


def _rebuilt(type: str, message: str, hint: str | None) -> PipelineError:
    kind = getattr(errors, type, PipelineError)
    return kind(message, hint)
