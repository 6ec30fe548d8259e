"""The time of a cold search from the terminal: ``python benchmarks/cold.py [RUNS]``.

Indexes a small folder of plain text with the packaged MiniLM. Then it runs ``semantik search`` RUNS (5) times with the
default reranker and RUNS times without, alternately, each time in a new process. A run includes starting the
interpreter, imports, loading the model, the query, the answer and the exit. Prints one JSON object: the median, the
minimum and all wall times in seconds, the milliseconds that the query itself took according to the last answer, and the
machine's load.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from support.corpora import plain_text
from support.fleets import Missing, report

from semantik_pipeline.builtin.embedders.packaged_model import DISTRIBUTION, packaged_folder

WAYS = {"reranked": "--rerank", "plain": "--no-rerank"}


def semantik(folder: Path, *arguments: str) -> tuple[float, dict[str, Any]]:
    """Run the command. Returns its wall seconds and its answer."""
    command = [sys.executable, "-m", "semantik_pipeline.cli", *arguments, "--json", "--data-dir", str(folder / "data")]
    start = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return time.perf_counter() - start, json.loads(done.stdout)


def measure() -> dict[str, Any]:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    if packaged_folder() is None:
        raise Missing(f"The model's package {DISTRIBUTION} is not installed.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _, indexed = semantik(folder, "index", str(plain_text(folder / "corpus", 10)))
        walls: dict[str, list[float]] = {way: [] for way in WAYS}
        inside = {}
        for _ in range(runs):
            for way, option in WAYS.items():
                seconds, answer = semantik(folder, "search", "how are names bound", option)
                if answer["reranked"] != (way == "reranked"):
                    raise RuntimeError(f"{way}: {answer['warnings']}")
                walls[way].append(round(seconds, 2))
                inside[way] = answer["timings_ms"]
    figures = {
        way: {"median": statistics.median(seconds), "least": min(seconds), "seconds": seconds, "inside_ms": inside[way]}
        for way, seconds in walls.items()
    }
    return {"chunks": indexed["chunks"]["total"], **figures, "load": round(os.getloadavg()[0], 1)}


if __name__ == "__main__":
    report(measure)
