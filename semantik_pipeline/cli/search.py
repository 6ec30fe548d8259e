"""``semantik search``: ask a collection."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

from semantik_pipeline.cli.invocation import Invocation, begin
from semantik_pipeline.cli.questions import asking, question
from semantik_pipeline.questions import SearchQuery

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime
    from semantik_pipeline.search import SearchAnswer

#: Seconds that a reranker gets, unless the settings say otherwise: whoever waits for a model to load waits for it too.
RERANK_SECONDS = 5.0


@asking
def search(context: typer.Context, **given: Any) -> int:
    """Find the passages that answer a question."""
    call = begin(context)
    asked = question(**given)
    if "rerank_deadline" not in call.settings().search.model_fields_set:
        asked = replace(asked, rerank_deadline=RERANK_SECONDS)
    with call.runtime() as runtime:
        answer = answer_of(runtime, asked)
        note = None if answer.hits else why_nothing(call, runtime, asked)
        call.output.give(answer.to_dict(), lambda console: _show(console, answer, note))
        call.output.flush()  # closing what the model holds takes a moment; the answer need not wait for it
    return 0


def answer_of(runtime: Runtime, asked: SearchQuery) -> SearchAnswer:
    """The answer, by this process or by a fleet's search workers, as the settings say."""
    settings = runtime.settings
    if settings.search.execution == "local":
        from semantik_pipeline.search import search

        return search(runtime, asked)
    from contextlib import closing

    from workers.remote_search import Searching

    with closing(Searching(runtime)) as searching:
        return searching(asked)


def why_nothing(call: Invocation, runtime: Runtime, asked: SearchQuery) -> str:
    """What to tell a person who got no hit."""
    from semantik_pipeline.ledger.documents import document_reports

    with runtime.ledger.read() as tx:
        indexed = document_reports.totals(tx)["collections"][asked.collection]["documents"].get("indexed", 0)
    return nothing_found(call, asked.collection, indexed, filtered=asked.filter is not None)


def nothing_found(call: Invocation, collection: str, indexed: int, *, filtered: bool) -> str:
    """Why a search of a collection with so many indexed documents found nothing."""
    if not indexed:
        return f"The collection {collection!r} has no indexed document yet: {call.command('index PATH')}"
    if filtered:
        return f"Nothing in the collection {collection!r} passes the filter and fits the query."
    return f"Nothing found in the collection {collection!r}."


def _show(console: Any, answer: Any, note: str | None) -> None:
    from semantik_pipeline.cli.hits import show_hits

    show_hits(console, answer, note)
