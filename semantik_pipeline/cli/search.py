"""``semantik search``: ask a collection."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semantik_pipeline.cli.invocation import Invocation, begin

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime
    from semantik_pipeline.search import SearchAnswer, SearchQuery


class Mode(StrEnum):
    """Which legs a query runs."""

    HYBRID = "hybrid"
    DENSE = "dense"
    SPARSE = "sparse"


class Fusion(StrEnum):
    """How the legs become one list; settings.Fusion has the same names."""

    MINMAX = "minmax"
    RRF = "rrf"
    DBSF = "dbsf"


#: Seconds that a reranker gets, unless the settings say otherwise: whoever waits for a model to load waits for it too.
RERANK_SECONDS = 5.0

#: Options that `search` and `eval` share.
ModeOption = Annotated[Mode, typer.Option(help="By words and meaning, by meaning alone, by words alone.")]
RerankOption = Annotated[bool, typer.Option("--rerank/--no-rerank", help="Read the best hits again, closely.")]
RerankerOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ID", help="The plugin that reranks; several, with commas or again, read one after the other."
    ),
]
FusionOption = Annotated[
    Fusion | None, typer.Option(help="How words and meaning become one order.", show_default="the collection's")
]
DenseWeightOption = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE", help="What meaning weighs, 0..1; words have the rest.", show_default="the collection's"
    ),
]
RerankWeightOption = Annotated[
    float | None,
    typer.Option(metavar="SHARE", help="What the reranker's word weighs, 0..1.", show_default="the collection's"),
]
FilterOption = Annotated[
    str | None,
    typer.Option("--filter", metavar="JSON", help='Qdrant\'s filter, as {"must": [{"key": "page", "match": …}]}.'),
]
FacetOption = Annotated[
    list[str] | None,
    typer.Option(metavar="FIELD", help="Count the documents by a field, as language or entities.ORG. Repeatable."),
]
PostprocessorOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ID[:KEY=VALUE]",
        help="What is done with the hits, as highlight or group:k=2; several in their order; none.",
        show_default="the collection's",
    ),
]
ExplainOption = Annotated[bool, typer.Option("--explain", help="Show how each hit got its score.")]
WhyOption = Annotated[
    str | None, typer.Option(metavar="URI", help="Say why this document, or path, is not among the hits.")
]
UnderstandOption = Annotated[
    bool,
    typer.Option(
        "--understand/--literal",
        help='Heed "phrases", -words and field:value and mend typing errors, or take it as text.',
    ),
]


def search(
    context: typer.Context,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="What you look for, in your own words.")],
    collection: Annotated[str, typer.Option(metavar="NAME", help="Where to look.")] = "default",
    limit: Annotated[int, typer.Option(metavar="N", help="How many hits at most.")] = 10,
    mode: ModeOption = Mode.HYBRID,
    rerank: RerankOption = True,
    reranker: RerankerOption = None,
    filter_json: FilterOption = None,
    fusion: FusionOption = None,
    dense_weight: DenseWeightOption = None,
    rerank_weight: RerankWeightOption = None,
    facet: FacetOption = None,
    postprocessor: PostprocessorOption = None,
    explain: ExplainOption = False,
    why: WhyOption = None,
    understand: UnderstandOption = True,
) -> int:
    """Find the passages that answer a question."""
    call = begin(context)
    from semantik_pipeline.search import SearchQuery

    settings = call.settings().search
    asked = SearchQuery(
        text=query,
        collection=collection,
        limit=limit,
        mode=mode.value,
        rerank=rerank,
        reranker=rerankers_in(reranker),
        filter=parse_filter(filter_json),
        fusion=None if fusion is None else fusion.value,
        dense_weight=dense_weight,
        rerank_weight=rerank_weight,
        facets=tuple(facet or ()),
        postprocessors=postprocessors_in(postprocessor),
        explain=explain,
        explain_document=why,
        understand=understand,
        rerank_deadline=None if "rerank_deadline" in settings.model_fields_set else RERANK_SECONDS,
    )
    with call.runtime() as runtime:
        answer = answer_of(runtime, asked)
        note = None if answer.hits else why_nothing(call, runtime, asked)
        call.output.give(answer.to_dict(), lambda console: _show(console, answer, note))
        call.output.flush()  # closing what the model holds takes a moment; the answer need not wait for it
    return 0


def answer_of(runtime: Runtime, asked: SearchQuery) -> SearchAnswer:
    """The answer, by this process or by a fleet's search workers, as the settings say."""
    settings = runtime.settings
    if settings.search.on == "here":
        from semantik_pipeline.search import search

        return search(runtime, asked)
    from contextlib import closing

    from workers.asking import Searching

    with closing(Searching(runtime)) as searching:
        return searching(asked)


def rerankers_in(given: list[str] | None) -> list[str] | None:
    """The ids in ``--reranker A --reranker B`` and ``--reranker A,B``; None where none is given."""
    return [name.strip() for one in given for name in one.split(",")] if given else None


def postprocessors_in(given: list[str] | None) -> list[str | dict[str, Any]] | None:
    """The entries of ``--postprocessor highlight,dedupe --postprocessor group:k=2,score=best``; ``none`` is none of them,
    and None none given. Raises UsageError for what is no ID:KEY=VALUE."""
    if not given:
        return None
    from semantik_pipeline.configurations import parse_changes

    entries: list[str | dict[str, Any]] = []
    for text in given:
        plugin, colon, options = text.partition(":")
        if colon:
            entries.append({"plugin": plugin.strip(), "options": parse_changes(options.split(","))})
        else:
            entries += [name.strip() for name in text.split(",") if name.strip() != "none"]
    return entries


def parse_filter(text: str | None) -> dict[str, Any] | None:
    """The filter as a value. Raises UsageError naming the position where it is no JSON."""
    if text is None:
        return None
    import json

    from semantik_pipeline.errors import UsageError

    try:
        return json.loads(text)
    except ValueError as error:
        at = f"line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else "its start"
        what = getattr(error, "msg", str(error))
        raise UsageError(
            f"The filter is no JSON: {what} at {at}.",
            'It looks like {"must": [{"key": "language", "match": {"value": "en"}}]}.',
        ) from None


def why_nothing(call: Invocation, runtime: Runtime, asked: SearchQuery) -> str:
    """What to tell a person who got no hit."""
    from semantik_pipeline.ledger import reports

    with runtime.ledger.read() as tx:
        indexed = reports.totals(tx)["collections"][asked.collection]["documents"].get("indexed", 0)
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
