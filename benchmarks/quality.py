"""Search quality on a judged dataset: ``python benchmarks/quality.py DATASET [--data-dir DIR] [--ways NAME,NAME]``.

DATASET is a folder in the BEIR layout. It is indexed through the whole pipeline; with ``--data-dir``, DIR keeps the
index for the next run. Then every judged query is searched for in each way. Prints one JSON object:

- ``ways``: nDCG@10, recall@100 and MRR@10 over all judged queries, over the odd-numbered ones (use these to choose
  constants) and over the even-numbered ones (report these);
- ``gains``: how ``reranked``, the default with reranking, compares with each other way in nDCG@10: the difference of
  the means, and the p-value of a paired randomisation test over all judged queries.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from semantik_pipeline.operations import SourceRequest, begin_sync, wait
from semantik_pipeline.runtime import Runtime
from semantik_pipeline.search import SearchQuery
from semantik_pipeline.search.evaluation import Dataset, EvaluationReport, evaluate, read_dataset
from semantik_pipeline.search.evaluation.comparison import DECISIVE
from semantik_pipeline.search.evaluation.significance import paired_p
from semantik_pipeline.settings import load_settings
from workers.embedded import embedded_worker

COLLECTION = "quality"
PLAIN = SearchQuery(text="", collection=COLLECTION, rerank=False)
WAYS: dict[str, SearchQuery] = {
    "dense": replace(PLAIN, mode="dense"),
    "sparse": replace(PLAIN, mode="sparse"),
    "rrf": replace(PLAIN, fusion="rrf"),
    "dbsf": replace(PLAIN, fusion="dbsf"),
    **{f"minmax {weight}": replace(PLAIN, fusion="minmax", dense_weight=weight) for weight in (0.4, 0.5, 0.6, 0.7)},
    "default": PLAIN,
    "reranked": replace(PLAIN, rerank=True),
}


def main() -> None:
    asked = _arguments()
    if asked.dataset is None:
        print(json.dumps({"skipped": "No dataset was named: python benchmarks/quality.py DATASET."}))
        return
    dataset = read_dataset(asked.dataset)
    with tempfile.TemporaryDirectory() as folder, Runtime(load_settings(data_dir=asked.data_dir or folder)) as runtime:
        seconds = index(runtime, dataset)
        reports: dict[str, EvaluationReport] = {}
        answers = {name: ask(runtime, dataset, name, WAYS[name], reports) for name in asked.ways or WAYS}
    found = {"dataset": str(asked.dataset), "index_seconds": seconds, "ways": answers, "gains": gains(reports)}
    print(json.dumps(found, indent=2))


def index(runtime: Runtime, dataset: Dataset) -> float:
    """Index the corpus. Returns the seconds."""
    start = time.perf_counter()
    path = str(dataset.corpus.resolve())
    source = SourceRequest(connector="jsonl", name=path, config={"path": path})
    with embedded_worker(runtime):
        wait(runtime, begin_sync(runtime, [source], collection=COLLECTION))
    return round(time.perf_counter() - start, 1)


def ask(
    runtime: Runtime, dataset: Dataset, name: str, way: SearchQuery, reports: dict[str, EvaluationReport]
) -> dict[str, Any]:
    start = time.perf_counter()
    report = reports[name] = evaluate(runtime, dataset, way)
    answer = {
        "all": rounded(report),
        "odd": rounded(report.only(part(dataset, 0))),
        "even": rounded(report.only(part(dataset, 1))),
        "seconds": round(time.perf_counter() - start, 1),
        "warnings": report.warnings,
    }
    print(f"{name}: {answer}", file=sys.stderr, flush=True)
    return answer


def gains(reports: dict[str, EvaluationReport]) -> dict[str, Any]:
    """The gain of ``reranked`` over each other way, and its p-value."""
    best = reports.get("reranked")
    others = {name: report for name, report in reports.items() if best is not None and report is not best}
    return {
        name: {
            "difference": round(best.mean(DECISIVE) - other.mean(DECISIVE), 4),
            "p": round(paired_p(_each(best), _each(other)), 5),
        }
        for name, other in others.items()
        if best is not None
    }


def _each(report: EvaluationReport) -> list[float]:
    return report.scores(DECISIVE, sorted(report.per_query))


def part(dataset: Dataset, start: int) -> list[str]:
    """Every second judged query: those with odd numbers for ``start`` 0, those with even numbers for 1. Positions
    replace the numbers if not all ids are numbers."""
    numbered = all(query_id.isdigit() for query_id in dataset.judged)
    return [id for place, id in enumerate(dataset.judged) if ((int(id) - 1 if numbered else place) % 2) == start]


def rounded(report: EvaluationReport) -> dict[str, Any]:
    return {name: round(value, 4) for name, value in report.to_dict().items()}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, nargs="?")
    parser.add_argument("--data-dir", type=Path, help="keep the index here and use it again")
    parser.add_argument("--ways", type=_ways, help=f"with commas between them, of: {', '.join(WAYS)}")
    return parser.parse_args()


def _ways(names: str) -> list[str]:
    found = names.split(",")
    unknown = [name for name in found if name not in WAYS]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no way {unknown[0]!r}")
    return found


if __name__ == "__main__":
    main()
