"""``semantik search``: search a collection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

from semantik_pipeline.cli.invocation import Invocation, begin
from semantik_pipeline.cli.questions import asking, question
from semantik_pipeline.errors import PipelineError
from semantik_pipeline.questions import SearchQuery

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime
    from semantik_pipeline.search import SearchAnswer

#: Default reranker deadline in seconds. It is longer than that of a server, because this process waits for a model to
#: load anyway.
RERANK_SECONDS = 5.0

#: Maximum number of a filter's fields that are probed after a search without hits.
FIELDS = 5


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
        call.output.flush()  # before the runtime and its models are closed, which takes a moment
    return 0


def answer_of(runtime: Runtime, asked: SearchQuery) -> SearchAnswer:
    """Return the answer, from this process or from a fleet's search workers, as ``search.execution`` says."""
    settings = runtime.settings
    if settings.search.execution == "local":
        from semantik_pipeline.search import search

        return search(runtime, asked)
    from contextlib import closing

    from workers.remote_search import Searching

    with closing(Searching(runtime)) as searching:
        return searching(asked)


def why_nothing(call: Invocation, runtime: Runtime, asked: SearchQuery) -> str:
    """Return the message for a search without hits."""
    from semantik_pipeline.ledger.documents import document_reports

    with runtime.ledger.read() as tx:
        indexed = document_reports.totals(tx)["collections"][asked.collection]["documents"].get("indexed", 0)
    return nothing_found(call, asked, indexed, lambda probe: bool(answer_of(runtime, probe).hits))


def nothing_found(call: Invocation, asked: SearchQuery, indexed: int, finds: Callable[[SearchQuery], bool]) -> str:
    """Return why a search found nothing.

    ``indexed`` is the number of indexed documents in the collection. ``finds`` runs another search and returns whether
    it has hits.
    """
    from semantik_pipeline.contracts.filters import demanded_keys

    if not indexed:
        empty = f"The collection {asked.collection!r} has no indexed documents yet."
        return f"{empty} Index some: {call.command('index PATH')}"
    if asked.filter is None:
        return f"Nothing found in the collection {asked.collection!r}."
    absent = [key for key in demanded_keys(asked.filter)[:FIELDS] if _is_absent(asked, key, finds)]
    if absent:
        return " ".join(f"No document has the field {key!r}." for key in absent)
    return f"No document in the collection {asked.collection!r} matches both the query and the filter."


def _is_absent(asked: SearchQuery, key: str, finds: Callable[[SearchQuery], bool]) -> bool:
    """Return whether no document has the field. Returns False if the probe fails, since the answer itself is valid."""
    try:
        return not finds(_having(asked, key))
    except PipelineError:
        return False


def _having(asked: SearchQuery, key: str) -> SearchQuery:
    """Return a search that has a hit if any document has the field.

    It uses dense vectors, because a dense search returns the nearest points for every text.
    """
    return SearchQuery(
        text=asked.text,
        collection=asked.collection,
        limit=1,
        mode="dense",
        rerank=False,
        postprocessors=[],
        interpret=False,
        filter={"must_not": [{"is_empty": {"key": key}}]},
    )


def _show(console: Any, answer: Any, note: str | None) -> None:
    from semantik_pipeline.cli.hits import show_hits

    show_hits(console, answer, note)
