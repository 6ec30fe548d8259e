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

#: Seconds that a reranker gets, unless the settings say otherwise: a process that waits for a model to load has them.
RERANK_SECONDS = 5.0

#: Fields of a filter that are looked for where nothing was found, at most.
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
    return nothing_found(call, asked, indexed, lambda probe: bool(answer_of(runtime, probe).hits))


def nothing_found(call: Invocation, asked: SearchQuery, indexed: int, finds: Callable[[SearchQuery], bool]) -> str:
    """Why a search of a collection with that many indexed documents found nothing. ``finds`` says whether another search
    finds something."""
    from semantik_pipeline.contracts.filters import demanded_keys

    if not indexed:
        return f"The collection {asked.collection!r} has no indexed documents yet. Index some: {call.command('index PATH')}"
    if asked.filter is None:
        return f"Nothing found in the collection {asked.collection!r}."
    absent = [key for key in demanded_keys(asked.filter)[:FIELDS] if _is_absent(asked, key, finds)]
    if absent:
        return " ".join(f"No document has the field {key!r}." for key in absent)
    return f"No document in the collection {asked.collection!r} matches both the query and the filter."


def _is_absent(asked: SearchQuery, key: str, finds: Callable[[SearchQuery], bool]) -> bool:
    """Whether no document has the field; False if that can't be found out now, for the answer itself stands."""
    try:
        return not finds(_having(asked, key))
    except PipelineError:
        return False


def _having(asked: SearchQuery, key: str) -> SearchQuery:
    """A search that finds something if any document has the field: by vectors, which find something for every text."""
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
