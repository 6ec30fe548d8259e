"""``semantik eval``: measure search quality on judged queries or on a collection's own sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from semantik_pipeline.cli.arguments import given_path
from semantik_pipeline.cli.invocation import EXIT, Invocation, begin
from semantik_pipeline.cli.questions import (
    DenseWeightOption,
    FilterOption,
    FusionOption,
    InterpretOption,
    Mode,
    ModeOption,
    RerankerOption,
    RerankOption,
    RerankWeightOption,
    question,
)

DatasetArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="DATASET_DIR",
        help="Dataset in BEIR format: corpus.jsonl, queries.jsonl, and qrels.tsv or qrels/test.tsv.",
    ),
]
CollectionOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Collection to index the dataset into (default: a new one for it).")
]
ModelOption = Annotated[str | None, typer.Option(metavar="NAME", help="Embedding model.")]
LimitOption = Annotated[int, typer.Option(metavar="N", help="Hits per query; a reranker reads up to 5 × N.")]
CompareOption = Annotated[bool, typer.Option("--compare", help="Compare modes, fusions and rerankers.")]
KnownItemsOption = Annotated[
    str | None,
    typer.Option(metavar="COLLECTION", help="Evaluate this collection with its own titles and sentences as queries."),
]
HistoryOption = Annotated[bool, typer.Option("--history", help="Show earlier results.")]
WaysOption = Annotated[
    str | None,
    typer.Option(metavar="WAY,WAY", help="Compare only these with the default, e.g. dense, rrf or a reranker's id."),
]
TryOption = Annotated[
    list[str] | None,
    typer.Option(
        "--try",
        metavar="KEY=VALUE",
        help="Also compare an index with this configuration change, e.g. chunking.max_tokens=150; repeatable.",
    ),
]
QueriesOption = Annotated[int, typer.Option(metavar="N", min=1, help="With --known-items: maximum number of queries.")]
SeedOption = Annotated[int, typer.Option(metavar="N", help="With --known-items: random seed of the sample.")]
PlotOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", parser=given_path, help="Write a chart to FILE.png and FILE.html, or to one of them."),
]


#: Defaults of the options that choose one way of searching.
_USUAL: dict[str, Any] = {
    "mode": Mode.HYBRID,
    "rerank": True,
    **dict.fromkeys(("reranker", "fusion", "dense_weight", "rerank_weight")),
}


def evaluate(
    context: typer.Context,
    dataset_dir: DatasetArgument = None,
    collection: CollectionOption = None,
    model: ModelOption = None,
    limit: LimitOption = 10,
    mode: ModeOption = Mode.HYBRID,
    rerank: RerankOption = True,
    reranker: RerankerOption = None,
    filter_json: FilterOption = None,
    fusion: FusionOption = None,
    dense_weight: DenseWeightOption = None,
    rerank_weight: RerankWeightOption = None,
    interpret: InterpretOption = False,
    compare: CompareOption = False,
    known_items: KnownItemsOption = None,
    history: HistoryOption = False,
    ways: WaysOption = None,
    try_: TryOption = None,
    queries: QueriesOption = 200,
    seed: SeedOption = 1,
    plot: PlotOption = None,
) -> int:
    """Measure search quality on a dataset with judged queries, or on a collection's own titles and sentences.

    \b
    semantik eval DATASET_DIR                index a dataset and run its queries
    semantik eval --known-items COLLECTION   use a collection's own words as queries
    semantik eval --history [NAME]           show earlier results

    A second run on a dataset only indexes what has changed in it.
    """
    call = begin(context)
    if history:
        return _give_history(call, dataset_dir or known_items or collection)
    from semantik_pipeline.cli.evaluation_runs import Asked, measure, measure_known_items
    from semantik_pipeline.configurations import parse_changes

    several = compare or bool(known_items or ways or try_ or plot)
    way: dict[str, Any] = {"mode": mode, "rerank": rerank, "reranker": reranker}
    way |= {"fusion": fusion, "dense_weight": dense_weight, "rerank_weight": rerank_weight}
    _check(dataset_dir, known_items, chosen=any(way[one] != usual for one, usual in _USUAL.items()), several=several)
    _check_literal(known_items, interpret)
    asked = Asked(
        template=question(query=["?"], limit=limit, filter_json=filter_json, interpret=interpret, **way),
        ways=tuple(ways.split(",")) if ways else (),
        tried=tuple(parse_changes(one.split()) for one in try_ or ()),
        plot=plot,
    )
    if known_items is not None:
        answer = measure_known_items(call, known_items, asked, queries=queries, seed=seed)
    else:
        assert dataset_dir is not None  # _check guarantees it
        answer = measure(call, Path(dataset_dir), asked, collection=collection, model=model, compared=several)
    return _give(call, answer, several=several)


def _check(dataset_dir: str | None, known_items: str | None, *, chosen: bool, several: bool) -> None:
    """Raise UsageError for options that contradict each other."""
    from semantik_pipeline.errors import UsageError

    if (dataset_dir is None) == (known_items is None):
        given = "Neither" if dataset_dir is None else "Both"
        raise UsageError(
            f"{given} DATASET_DIR {'nor' if dataset_dir is None else 'and'} --known-items is given.",
            "Give the folder of a dataset, or --known-items COLLECTION.",
        )
    if several and chosen:
        raise UsageError(
            "--mode, --fusion, --dense-weight, --no-rerank, --reranker and --rerank-weight choose one way of "
            "searching, but a comparison tries all of them.",
            "Choose ways with --ways, as in --ways dense,cross-encoder.",
        )


def _check_literal(known_items: str | None, interpret: bool) -> None:
    from semantik_pipeline.errors import UsageError

    if known_items is not None and interpret:
        raise UsageError(
            "--interpret is for queries that people wrote; --known-items takes its queries from the documents.",
            "Leave it out.",
        )


def _give(call: Invocation, answer: dict[str, Any], *, several: bool) -> int:
    from semantik_pipeline.cli.evaluation_views import show_compared, show_measured

    call.output.give(answer, lambda console: (show_compared if several else show_measured)(console, answer))
    return EXIT[answer.get("outcome", "succeeded")]


def _give_history(call: Invocation, name: str | None) -> int:
    from semantik_pipeline.cli.evaluation_history import history
    from semantik_pipeline.cli.evaluation_views import show_history

    with call.runtime() as runtime:
        rows = history(runtime, name)
    way_on = call.command("eval --known-items COLLECTION")
    call.output.give({"evaluations": rows}, lambda console: show_history(console, rows, way_on))
    return 0
