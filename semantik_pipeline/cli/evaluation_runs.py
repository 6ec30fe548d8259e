"""The work of `semantik eval`: index a dataset, run its queries, compare ways of searching, store and plot the results.

A dataset goes through the whole pipeline. ``measure`` and ``measure_known_items`` return the command's JSON answer.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semantik_pipeline.cli.evaluation_copies import Copy, copies, pair_of
from semantik_pipeline.cli.evaluation_progress import metered
from semantik_pipeline.cli.index import run_sync
from semantik_pipeline.cli.invocation import Invocation
from semantik_pipeline.cli.working import owning

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime
    from semantik_pipeline.search import SearchQuery
    from semantik_pipeline.search.evaluation import Comparison, Dataset, Judged, Recommendation


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the user asked to measure.

    ``template`` is a search whose text and collection are replaced for each query. ``ways`` are the names of the ways
    to compare; empty means all. ``tried`` are configuration changes; an index with each of them is compared too.
    """

    template: SearchQuery
    ways: tuple[str, ...] = ()
    tried: tuple[dict[str, Any], ...] = ()
    plot: Path | None = None


def measure(
    call: Invocation, folder: Path, asked: Asked, *, collection: str | None, model: str | None, compared: bool
) -> dict[str, Any]:
    """Index the dataset and run its queries, in the way that ``asked`` describes or, with ``compared``, in all ways."""
    from semantik_pipeline import configurations, generations
    from semantik_pipeline.search.evaluation import read_dataset
    from semantik_pipeline.search.evaluation.ways import chosen, way, ways

    began = time.monotonic()
    dataset = read_dataset(folder)
    config = {"embedding": {"model": model}} if model else None
    name = collection or collection_name(folder, {**call.settings().collection, **(config or {})})
    asked = replace(asked, template=replace(asked.template, collection=name))
    with call.runtime() as runtime:  # reject wrong options before the corpus is indexed
        way(runtime, asked.template, {})
        chosen(ways(runtime, asked.template, {}), asked.ways)
    for changes in asked.tried:
        configurations.changed({**generations.DEFAULT}, changes)
    indexed = _index(call, dataset, name, config)
    asking = time.monotonic()
    subject = folder.expanduser().resolve().name
    with copies(call, name, asked.tried) as tried, owning(call) as runtime:
        told = (
            _compare(call, runtime, "judged", subject, dataset, asked, tried)
            if compared
            else _ask(call, runtime, subject, dataset, asked)
        )
    return {
        **told,
        "documents": indexed["documents"]["seen"],
        "chunks": indexed["chunks"]["total"],
        "seconds": round(time.monotonic() - began, 3),
        "index_seconds": indexed["seconds"],
        "query_seconds": round(time.monotonic() - asking, 3),
        "collection": name,
        "outcome": indexed["outcome"],
    }


def measure_known_items(call: Invocation, collection: str, asked: Asked, *, queries: int, seed: int) -> dict[str, Any]:
    """Search a collection for its own titles and sentences, in all ways. Raises UsageError if it has neither."""
    from semantik_pipeline.errors import UsageError
    from semantik_pipeline.ledger.documents.passages import passages
    from semantik_pipeline.search.evaluation import known_items

    began = time.monotonic()
    asked = replace(asked, template=replace(asked.template, collection=collection))
    with copies(call, collection, asked.tried) as tried, owning(call) as runtime:
        view = runtime.ledger.search_view(collection)
        judged = known_items(lambda: passages(runtime.ledger, view.generation_id), count=queries, seed=seed)
        if not judged.judged:
            raise UsageError(
                f"The collection {collection!r} has no titles or sentences that could be queries.",
                "Its documents need titles of two words or more, or prose. `semantik documents list` shows them.",
            )
        told = _compare(call, runtime, "known-items", collection, judged, asked, tried)
    kinds = {kind: len(ids) for kind, ids in judged.parts.items()}
    return {
        **told,
        "kinds": kinds,
        "seed": seed,
        "seconds": round(time.monotonic() - began, 3),
        "collection": collection,
    }


def collection_name(dataset: Path, config: dict[str, Any]) -> str:
    """Return the collection name for a dataset and a configuration.

    The same dataset and configuration give the same name, so that a second run finds its index.
    """
    path = str(dataset.expanduser().resolve())
    digest = hashlib.sha256(json.dumps([path, config], sort_keys=True, default=str).encode("utf-8", "replace"))
    return f"eval-{Path(path).name}-{digest.hexdigest()[:8]}"


def _index(call: Invocation, dataset: Dataset, collection: str, config: dict[str, Any] | None) -> dict[str, Any]:
    """Sync the collection with the corpus. Raises PipelineError if that failed."""
    from semantik_pipeline.errors import PipelineError
    from semantik_pipeline.operations import SourceRequest

    path = str(dataset.corpus.expanduser().resolve())
    source = SourceRequest(connector="jsonl", name=path, config={"path": path})
    answer, _ = run_sync(call, [source], collection, config=config, allow_deletions=True)
    if answer["outcome"] == "failed":
        raise PipelineError(f"{path} could not be indexed: {'; '.join(answer['errors'])}", "Nothing was measured.")
    return answer


def _ask(call: Invocation, runtime: Runtime, subject: str, judged: Judged, asked: Asked) -> dict[str, Any]:
    """Measure one way of searching, without a comparison."""
    from semantik_pipeline.search.evaluation import evaluate
    from semantik_pipeline.search.evaluation.history import Measured, keep
    from semantik_pipeline.search.evaluation.ways import way

    collection = asked.template.collection
    config = runtime.ledger.search_view(collection).config
    weights: dict[str, Any] = dict.fromkeys(("reranker", "fusion", "dense_weight", "rerank_weight"))
    plain = replace(asked.template, mode="hybrid", rerank=True, **weights)
    this = way(runtime, asked.template, config)
    this = replace(this, default=this.name == way(runtime, plain, config).name)
    with metered(call, "queries") as tell:
        report = evaluate(runtime, judged, asked.template, tell)
    measured = [Measured(way=this, report=report)]
    run = keep(runtime, kind="judged", subject=subject, collection=collection, judged=judged, measured=measured)
    return {**report.to_dict(), "way": this.name, "run": run, "warnings": report.warnings}


def _compare(
    call: Invocation,
    runtime: Runtime,
    kind: str,
    subject: str,
    judged: Judged,
    asked: Asked,
    tried: Sequence[Copy],
) -> dict[str, Any]:
    """Measure and compare all ways, and store and plot the results."""
    from semantik_pipeline.search.evaluation import compare, recommended
    from semantik_pipeline.search.evaluation.history import Measured, keep
    from semantik_pipeline.search.evaluation.ways import chosen, way, ways

    collection = asked.template.collection
    there = ways(runtime, asked.template, runtime.ledger.search_view(collection).config)
    there = chosen(there, asked.ways) if asked.ways else there
    for one in tried:
        config = runtime.ledger.search_view(one.collection).config
        other = way(runtime, replace(asked.template, collection=one.collection), config)
        there.append(replace(other, name=one.name, changes=one.changes))
    with metered(call, "searches") as tell:
        found = compare(runtime, judged, there, tell)
    measured = [Measured(way=one.way, report=one.report, p50_ms=one.p50_ms) for one in found.ways]
    run = keep(runtime, kind=kind, subject=subject, collection=collection, judged=judged, measured=measured)
    plots, note = _plotted(runtime, found, f"{subject}: {len(judged.judged):,} queries", asked.plot, run)
    return {
        "kind": kind,
        "subject": subject,
        "run": run,
        "queries": len(judged.judged),
        "ways": [one.to_dict() for one in found.ways],
        "left_out": found.left_out,
        "recommendation": _advice(call, recommended(found), collection if kind == "known-items" else "COLLECTION"),
        "plots": plots,
        "warnings": [*dict.fromkeys(warning for one in found.ways for warning in one.report.warnings), *note],
    }


def _plotted(
    runtime: Runtime, found: Comparison, title: str, path: Path | None, run: str
) -> tuple[list[str], list[str]]:
    """Return the paths of the charts, and a note if none could be drawn.

    A missing plotting library is an error only with ``--plot``, because otherwise the user did not ask for a chart.
    """
    from semantik_pipeline.search.evaluation.plotting import MISSING, can_plot, write_plots

    if path is None and not can_plot():
        return [], [MISSING]
    where = path or runtime.settings.data_dir / "evaluations" / run
    return [str(one) for one in write_plots(found, title, where)], []


def _advice(call: Invocation, advice: Recommendation, collection: str) -> dict[str, Any]:
    commands = [
        call.command(f"{command} {_words(collection, option, changes)}")
        for command, option, changes in (
            ("reindex", "--set ", advice.changes),
            ("collections configure", "", advice.settings),
        )
        if changes
    ]
    return {
        "way": advice.way,
        "reason": advice.reason,
        "settings": advice.settings,
        "changes": advice.changes,
        "commands": commands,
        "notes": advice.notes,
    }


def _words(collection: str, option: str, changes: dict[str, Any]) -> str:
    import shlex

    pairs = [f"{option}{shlex.quote(pair_of(name, value))}" for name, value in changes.items()]
    return " ".join([shlex.quote(collection), *pairs])
