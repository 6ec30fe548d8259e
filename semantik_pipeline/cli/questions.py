"""The options of a search, and the query that they describe. Used both in this process and with a server."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

import typer

from semantik_pipeline.errors import UsageError
from semantik_pipeline.questions import SearchQuery

#: Maximum of ``--limit``.
MOST_HITS = 1000


class Mode(StrEnum):
    """Which legs a query runs."""

    HYBRID = "hybrid"
    DENSE = "dense"
    SPARSE = "sparse"


class Fusion(StrEnum):
    """How the results of the legs are combined. ``settings.Fusion`` has the same names."""

    MINMAX = "minmax"
    RRF = "rrf"
    DBSF = "dbsf"


#: Options that `search` and `eval` share.
ModeOption = Annotated[Mode, typer.Option(help="Search by vectors and BM25, by vectors only, or by BM25 only.")]
RerankOption = Annotated[bool, typer.Option("--rerank/--no-rerank", help="Rerank the top hits.")]
RerankerOption = Annotated[
    list[str] | None,
    typer.Option(metavar="ID", help="Reranker plugin; several, separated by commas, run in order."),
]
FusionOption = Annotated[
    Fusion | None, typer.Option(help="How vector and BM25 results are combined.", show_default="the collection's")
]
DenseWeightOption = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="Weight of the vector score, from 0 to 1; BM25 gets the rest.",
        show_default="the collection's",
    ),
]
RerankWeightOption = Annotated[
    float | None,
    typer.Option(metavar="SHARE", help="Weight of the reranker's score, from 0 to 1.", show_default="the collection's"),
]
FilterOption = Annotated[
    str | None,
    typer.Option(
        "--filter", metavar="JSON", help='Qdrant filter, e.g. {"must": [{"key": "page", "match": {"value": 3}}]}.'
    ),
]
FacetOption = Annotated[
    list[str] | None,
    typer.Option(metavar="FIELD", help="Count documents by a field, e.g. language or entities.ORG; repeatable."),
]
PostprocessorOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ID[:KEY=VALUE]",
        help="Postprocessor for the hits, e.g. highlight or group:k=2, or none; repeatable.",
        show_default="the collection's",
    ),
]
ExplainOption = Annotated[bool, typer.Option("--explain", help="Explain the score of each hit.")]
WhyOption = Annotated[str | None, typer.Option(metavar="URI", help="Explain why this document is not among the hits.")]
InterpretOption = Annotated[
    bool,
    typer.Option(
        "--interpret/--literal",
        help='Interpret "phrases", -words and field:value and correct typos, or search for the text as it is.',
    ),
]


def question(
    *,
    query: Annotated[
        list[str], typer.Argument(metavar="QUERY", help="Search text. Write `--` before one that starts with -.")
    ],
    collection: Annotated[str, typer.Option(metavar="NAME", help="Collection to search.")] = "default",
    limit: Annotated[int, typer.Option(metavar="N", help=f"Maximum number of hits, up to {MOST_HITS}.")] = 10,
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
    interpret: InterpretOption = True,
) -> SearchQuery:
    """Return the query that the options of ``semantik search`` describe.

    Several words are one query, so that users need no quotes. Raises UsageError for an option that can't be parsed or
    is out of range.
    """
    if not 1 <= limit <= MOST_HITS:
        raise UsageError(f"--limit {limit} is out of range.", f"Choose a limit from 1 to {MOST_HITS}.")
    for name, weight in (("--dense-weight", dense_weight), ("--rerank-weight", rerank_weight)):
        if weight is not None and not 0 <= weight <= 1:
            raise UsageError(f"{name} {weight:g} is out of range.", "Give a number from 0 to 1.")
    return SearchQuery(
        text=" ".join(query),
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
        interpret=interpret,
    )


def asking(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command that takes ``**given`` the options of :func:`question`.

    Typer reads options from the signature, so the parameters of :func:`question` are added to it.
    """
    own = [one for one in inspect.signature(command).parameters.values() if one.kind is not one.VAR_KEYWORD]
    options = inspect.signature(question, eval_str=True).parameters.values()
    command.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]
    return command


def rerankers_in(given: list[str] | None) -> list[str] | None:
    """Return the ids in ``--reranker A --reranker B`` or ``--reranker A,B``, or None if the option is not given."""
    return [name.strip() for one in given for name in one.split(",")] if given else None


def postprocessors_in(given: list[str] | None) -> list[str | dict[str, Any]] | None:
    """Return the entries of ``--postprocessor highlight,dedupe --postprocessor group:k=2,score=best``.

    ``--postprocessor none`` gives an empty list; None means that the option is not given. Raises UsageError for options
    that are not KEY=VALUE.
    """
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
    """Parse a JSON filter.

    Raises UsageError with the position of a syntax error, and for a filter that is nested too deeply.
    """
    if text is None:
        return None
    import json

    from semantik_pipeline.contracts.filter_bounds import MOST_LEVELS, check_bounds

    try:
        found = json.loads(text)
    except RecursionError:
        raise UsageError(f"The filter has more than {MOST_LEVELS} levels of JSON.", "Nest it less deeply.") from None
    except ValueError as error:
        at = f"line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else "its start"
        what = getattr(error, "msg", str(error))
        raise UsageError(
            f"The filter is not valid JSON: {what} at {at}.",
            'Write a filter like {"must": [{"key": "language", "match": {"value": "en"}}]}.',
        ) from None
    check_bounds(found, MOST_LEVELS)
    return found
