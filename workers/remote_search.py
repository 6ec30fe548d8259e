"""A search that the fleet's search workers answer: a request and a reply through the broker.

Who asks waits on its own clock. RabbitMQ drops a request that is older than that; from Redis one that nobody waits for
any more is taken and costs a search. It does not carry the time at which it is over, for no two hosts' clocks agree.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from semantik_pipeline import errors
from semantik_pipeline.documents import SearchHit
from semantik_pipeline.errors import NotFound, PipelineError, ServiceUnavailable, SettingsError
from semantik_pipeline.plugins.secrets import scrub_within
from semantik_pipeline.queue import SEARCH, SEARCH_TASK, configure
from semantik_pipeline.search import SearchAnswer, SearchQuery, SeveralAnswers, search, search_several
from semantik_pipeline.settings import Settings

if TYPE_CHECKING:
    from celery import Celery

    from semantik_pipeline.runtime import Runtime

#: Queries of a process that wait for workers at once; more wait for their turn.
ASKERS = 32

#: How often a broker that is away is dialled, and seconds between: Celery would try for twenty, whatever the patience.
RETRIES = {"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2}

#: Parts of an answer that may repeat words of plugins.
TOLD = ("warnings", "rerankers", "document_explanation")


def answered(runtime: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """On the worker: ``{"answer": ...}``, or ``{"error": {"type", "message", "hint"}}`` for an error of this project, and
    ``there`` for what is not found. Words of plugins are without secrets, which who asks does not know."""
    try:
        if "among" not in asked:
            return {"answer": _scrubbed(search(runtime, SearchQuery(**asked)))}
        several = search_several(runtime, SearchQuery(**asked["query"]), asked["among"])
        answers = {name: _scrubbed(answer) for name, answer in several.answers.items()}
        return {"answers": answers, "together": several.together, "facets": several.facets}
    except PipelineError as error:
        told = {"type": type(error).__name__, "message": scrub_within(error.message), "hint": scrub_within(error.hint)}
        return {"error": told | ({"there": error.there} if isinstance(error, NotFound) else {})}


def _scrubbed(answer: SearchAnswer) -> dict[str, Any]:
    told = answer.to_dict()
    return told | {name: scrub_within(told[name]) for name in TOLD}


class Searching:
    """Answers queries for a process, however many of its threads ask: here, or by the fleet's search workers, as
    ``search.execution`` says. Raises what the search raises, ServiceUnavailable where no worker answers within
    ``search.worker_timeout`` seconds, and SettingsError where workers are to answer and there is no broker."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None
        self._mine = threading.local()
        self._apps: list[Celery] = []

    def __call__(self, query: SearchQuery) -> SearchAnswer:
        if self._runtime.settings.search.execution == "local":
            return search(self._runtime, query)
        return _answer(self._asked(asdict(query)))

    def several(self, query: SearchQuery, among: Sequence[str]) -> SeveralAnswers:
        """Each of these collections' answers; one worker asks them all."""
        if self._runtime.settings.search.execution == "local":
            return search_several(self._runtime, query, among)
        reply = self._asked({"query": asdict(query), "among": list(among)})
        _check(reply)
        answers = {name: _rebuilt_answer(answer) for name, answer in reply["answers"].items()}
        return SeveralAnswers(answers=answers, together=reply["together"], facets=reply["facets"])

    def _asked(self, asked: dict[str, Any]) -> dict[str, Any]:
        """A worker's reply."""
        settings = self._runtime.settings
        if not settings.fleet:
            raise SettingsError(
                "search.execution is 'workers', but there is no broker.",
                "Set broker.url, or search.execution to 'local'.",
            )
        with self._lock:
            self._threads = self._threads or ThreadPoolExecutor(ASKERS, thread_name_prefix="asking")
        return self._threads.submit(contextvars.copy_context().run, self._ask, asked).result()

    def _ask(self, asked: dict[str, Any]) -> dict[str, Any]:
        """With an app of this thread's own: replies come to the thread that asked, and connecting takes a while."""
        app = getattr(self._mine, "app", None)
        if app is None:
            app = self._mine.app = _app(self._runtime.settings)
            with self._lock:
                self._apps.append(app)
        try:
            reply = _reply(app, self._runtime.settings.search.worker_timeout, asked)
        except ServiceUnavailable:
            self._mine.app = None  # what comes late is for nobody
            with self._lock:
                self._apps.remove(app)
            app.close()
            raise
        return reply

    def close(self) -> None:
        """Blocks until queries in hand have their answer; those that wait for a thread get none (CancelledError)."""
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
        for app in self._apps:
            app.close()


def ask(settings: Settings, query: SearchQuery) -> SearchAnswer:
    """Let a search worker answer this one query; raises as :class:`Searching` does."""
    with closing(_app(settings)) as app:
        return _answer(_reply(app, settings.search.worker_timeout, asdict(query)))


def _app(settings: Settings) -> Celery:
    from celery import Celery

    app = Celery("semantik", set_as_current=False)
    configure(app, settings)
    app.conf.update(
        broker_transport_options={**app.conf.broker_transport_options, **RETRIES},
        result_backend_transport_options={"retry_policy": RETRIES},
    )
    return app


def _reply(app: Celery, patience: float, asked: dict[str, Any]) -> dict[str, Any]:
    from celery.exceptions import TimeoutError as NoAnswer

    args = [asked]
    try:
        sent = app.send_task(SEARCH_TASK, args=args, queue=SEARCH, expiration=patience, ignore_result=False)
        sent.get(timeout=patience, propagate=False, disable_sync_subtasks=False)  # who asks runs in no task
    except NoAnswer:
        raise ServiceUnavailable(
            f"No search worker answered within {patience:.0f} s.",
            "Start one (`semantik worker --profile search`), or set search.execution to 'local'.",
        ) from None
    except Exception as error:  # what the broker's client raises: errors of kombu, redis or amqp, and a RuntimeError
        raise ServiceUnavailable(f"The broker can't be asked: {error.__cause__ or error}") from error
    return sent.get(disable_sync_subtasks=False)  # or what the task raised there


def _answer(reply: dict[str, Any]) -> SearchAnswer:
    _check(reply)
    return _rebuilt_answer(reply["answer"])


def _check(reply: dict[str, Any]) -> None:
    if "error" in reply:
        raise _rebuilt(**reply["error"])


def _rebuilt_answer(answer: dict[str, Any]) -> SearchAnswer:
    return SearchAnswer(**{**answer, "hits": [SearchHit.from_dict(hit) for hit in answer["hits"]]})


def _rebuilt(type: str, message: str, hint: str | None, **more: Any) -> PipelineError:
    kind = getattr(errors, type, PipelineError)
    return kind(message, hint, **more)
