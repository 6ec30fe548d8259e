"""``semantik eval``: index a dataset through the whole pipeline, ask its queries, and measure the answers."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semantik_pipeline.cli.index import EXIT, run_sync
from semantik_pipeline.cli.invocation import Invocation, begin
from semantik_pipeline.cli.search import (
    FilterOption,
    Mode,
    ModeOption,
    RerankerOption,
    RerankOption,
    parse_filter,
    rerankers_in,
)

if TYPE_CHECKING:
    from rich.console import Console

    from semantik_pipeline.search import SearchQuery
    from semantik_pipeline.search.evaluation import Dataset, EvaluationReport

#: Seconds between two lines of progress where there is no terminal.
LINE_EVERY = 10.0


def evaluate(
    context: typer.Context,
    dataset_dir: Annotated[
        Path,
        typer.Argument(
            metavar="DATASET_DIR", help="BEIR layout: corpus.jsonl, queries.jsonl, qrels.tsv or qrels/test.tsv."
        ),
    ],
    collection: Annotated[
        str | None, typer.Option(metavar="NAME", help="Index into this one (default: one of the dataset's own).")
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME", help="The embedding model.")] = None,
    limit: Annotated[int, typer.Option(metavar="N", help="Hits that a search gives; a reranker reads 5 × N.")] = 10,
    mode: ModeOption = Mode.HYBRID,
    rerank: RerankOption = True,
    reranker: RerankerOption = None,
    filter_json: FilterOption = None,
) -> int:
    """Measure how good the answers are on a dataset with judged queries. A second run only indexes what changed."""
    call = begin(context)
    from semantik_pipeline.search import SearchQuery, check_search
    from semantik_pipeline.search.evaluation import read_dataset

    began = time.monotonic()
    dataset = read_dataset(dataset_dir)
    config = {"embedding": {"model": model}} if model else None
    name = collection or collection_name(dataset_dir, {**call.settings().collection, **(config or {})})
    template = SearchQuery(
        text="?",
        collection=name,
        limit=limit,
        mode=mode.value,
        rerank=rerank,
        reranker=rerankers_in(reranker),
        filter=parse_filter(filter_json),
    )
    with call.runtime() as runtime:  # a wrong option is told before the corpus is indexed
        check_search(runtime, template)
    indexed = _index(call, dataset, name, config)
    asking = time.monotonic()
    report = _ask(call, dataset, template)
    answer = {
        **report.to_dict(),
        "documents": indexed["documents"]["seen"],
        "chunks": indexed["chunks"]["total"],
        "seconds": round(time.monotonic() - began, 3),
        "index_seconds": indexed["seconds"],
        "query_seconds": round(time.monotonic() - asking, 3),
        "collection": name,
        "outcome": indexed["outcome"],
        "warnings": report.warnings,
    }
    call.output.give(answer, lambda console: _show(console, answer))
    return EXIT[indexed["outcome"]]


def collection_name(dataset: Path, config: dict[str, Any]) -> str:
    """The collection of a dataset and a configuration: the same for both is the same collection, so a second run
    finds its index there."""
    path = str(dataset.expanduser().resolve())
    digest = hashlib.sha256(json.dumps([path, config], sort_keys=True, default=str).encode("utf-8", "replace"))
    return f"eval-{Path(path).name}-{digest.hexdigest()[:8]}"


def _index(call: Invocation, dataset: Dataset, collection: str, config: dict[str, Any] | None) -> dict[str, Any]:
    """Bring the collection in step with the corpus. Raises PipelineError if that failed."""
    from semantik_pipeline.errors import PipelineError
    from semantik_pipeline.operations import SourceRequest

    path = str(dataset.corpus.expanduser().resolve())
    source = SourceRequest(connector="jsonl", name=path, config={"path": path})
    answer, _ = run_sync(call, [source], collection, config=config, allow_deletions=True)
    if answer["outcome"] == "failed":
        raise PipelineError(f"{path} could not be indexed: {'; '.join(answer['errors'])}", "Nothing was measured.")
    return answer


def _ask(call: Invocation, dataset: Dataset, template: SearchQuery) -> EvaluationReport:
    from semantik_pipeline.search.evaluation import evaluate

    last = time.monotonic()

    def tell(done: int, queries: int) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_EVERY or done == queries:
            last = time.monotonic()
            call.say(f"asked {done:,} of {queries:,} queries")

    with call.runtime() as runtime, runtime.own():
        return evaluate(runtime, dataset, template, tell)


def _show(console: Console, answer: dict[str, Any]) -> None:
    from semantik_pipeline.cli.tables import print_facts
    from semantik_pipeline.cli.wording import counted, duration, printable

    about = f"{counted(answer['queries'], 'query')}, {counted(answer['documents'], 'document')}"
    print_facts(
        console,
        [
            *((name, f"{answer[name]:.4f}") for name in ("ndcg@10", "recall@100", "mrr@10")),
            ("over", f"{about}, {counted(answer['chunks'], 'chunk')}"),
            ("took", f"{duration(answer['seconds'])} (index {duration(answer['index_seconds'])})"),
            ("collection", printable(answer["collection"])),
        ],
        indent=0,
    )
    for warning in answer["warnings"]:
        console.print(f"note: {printable(warning)}", style="yellow", soft_wrap=True)
