"""Searches that the fleet's search workers answer: a request and a reply through the broker.

The caller measures its timeout on its own clock. RabbitMQ drops a request that has waited longer than the timeout.
Redis does not, so a worker may run a search for which nobody waits any more. The request carries no deadline, because
the clocks of two hosts never agree exactly.
"""

from __future__ import annotations

import contextvars
import threading
import time
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

#: Maximum number of a process's queries that wait for workers at once. Further queries queue up in the process.
ASKERS = 32

#: Retries, and the seconds between them, for an unavailable broker. By default, Celery would retry for 20 seconds,
#: whatever the timeout is.
RETRIES = {"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2}

#: Fields of an answer that may contain text from plugins.
TOLD = ("warnings", "rerankers", "document_explanation")


def answered(runtime: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """Answer a request on the worker.

    Returns ``{"answer": ...}`` for one collection, or ``{"answers", "together", "facets"}`` for several. A
    PipelineError becomes ``{"error": {"type", "message", "hint"}}``, with ``there`` in addition for NotFound. Secrets
    are removed here from texts that come from plugins, because the caller does not know them.
    """
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
    """Answers queries in this process or through the fleet's search workers, as ``search.execution`` says. Any number
    of threads may call it.

    Raises what the search raises, ServiceUnavailable if no worker answers within ``search.worker_timeout`` seconds, and
    SettingsError if workers should answer but no broker is set.
    """

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
        """Search each of these collections; one worker answers for all of them."""
        if self._runtime.settings.search.execution == "local":
            return search_several(self._runtime, query, among)
        reply = self._asked({"query": asdict(query), "among": list(among)})
        _check(reply)
        answers = {name: _rebuilt_answer(answer) for name, answer in reply["answers"].items()}
        return SeveralAnswers(answers=answers, together=reply["together"], facets=reply["facets"])

    def _asked(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Ask in one of the process's threads and return the worker's reply. The time spent waiting for a thread counts
        towards the timeout."""
        settings = self._runtime.settings
        until = time.monotonic() + settings.search.worker_timeout
        if not settings.fleet:
            raise SettingsError(
                "search.execution is 'workers', but no broker is configured.",
                "Set broker.url, or search.execution to 'local'.",
            )
        with self._lock:
            self._threads = self._threads or ThreadPoolExecutor(ASKERS, thread_name_prefix="asking")
        turn = self._threads.submit(contextvars.copy_context().run, self._ask, asked, until)
        try:
            return turn.result(timeout=settings.search.worker_timeout)
        except TimeoutError:
            if turn.cancel():
                raise _unanswered(settings) from None
            return turn.result()  # it has already started, and observes the timeout itself

    def _ask(self, asked: dict[str, Any], until: float) -> dict[str, Any]:
        """Ask with this thread's own Celery app: replies arrive in the thread that asked, and the app is kept because
        connecting takes a while."""
        patience = until - time.monotonic()
        if patience <= 0:
            raise _unanswered(self._runtime.settings)
        app = getattr(self._mine, "app", None)
        if app is None:
            app = self._mine.app = _app(self._runtime.settings)
            with self._lock:
                self._apps.append(app)
        try:
            reply = _reply(app, self._runtime.settings, asked, patience)
        except ServiceUnavailable:
            self._mine.app = None  # drops a reply that comes late
            with self._lock:
                self._apps.remove(app)
            app.close()
            raise
        return reply

    def close(self) -> None:
        """Block until all queries in progress are answered. Queries that still wait for a thread raise
        CancelledError."""
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
        for app in self._apps:
            app.close()


def ask(settings: Settings, query: SearchQuery) -> SearchAnswer:
    """Have a search worker answer this one query. Raises the same errors as :class:`Searching`."""
    with closing(_app(settings)) as app:
        return _answer(_reply(app, settings, asdict(query), settings.search.worker_timeout))


def _app(settings: Settings) -> Celery:
    from celery import Celery

    app = Celery("semantik", set_as_current=False)
    configure(app, settings)
    app.conf.update(
        broker_transport_options={**app.conf.broker_transport_options, **RETRIES},
        result_backend_transport_options={"retry_policy": RETRIES},
    )
    return app


def _reply(app: Celery, settings: Settings, asked: dict[str, Any], patience: float) -> dict[str, Any]:
    """Send the request and return the reply. Raises ServiceUnavailable if there is none within ``patience`` seconds."""
    from celery.exceptions import TimeoutError as NoAnswer

    args = [asked]
    try:
        sent = app.send_task(SEARCH_TASK, args=args, queue=SEARCH, expiration=patience, ignore_result=False)
        sent.get(timeout=patience, propagate=False, disable_sync_subtasks=False)  # the caller is never inside a task
    except NoAnswer:
        raise _unanswered(settings) from None
    except Exception as error:  # the broker's clients raise errors of kombu, redis and amqp, and RuntimeError
        raise ServiceUnavailable(f"The broker could not be used for this search: {error.__cause__ or error}") from error
    return sent.get(disable_sync_subtasks=False)  # raises what the task raised on the worker


def _unanswered(settings: Settings) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"No search worker answered within {settings.search.worker_timeout:.0f} s.",
        "Start one (`semantik worker --profile search`), or set search.execution to 'local'.",
    )


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
