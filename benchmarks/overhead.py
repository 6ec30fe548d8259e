"""What all bookkeeping costs beside a real model: ``python benchmarks/overhead.py [CHUNKS] [ROUNDS]``.

Indexes plain text of about CHUNKS (1,100) chunks into a PostgreSQL ledger of the benchmark's own and the embedded store,
with the packaged MiniLM on the CPU (``dense-local``), extraction off, in one process whose model is loaded; then embeds
the same model inputs with the same embedder and nothing else. ROUNDS (2) times, pipeline and bare model in turns, since
machines drift. Prints one JSON object:

- ``overhead``: (wall of the pipeline - wall of the bare model) ÷ wall of the pipeline, over all rounds; ``rounds`` has
  both walls of each, in seconds.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from corpora import plain_text
from fleets import Missing, database, report
from throughput import CHUNKS_PER_FILE, run

from semantik_pipeline.builtin.embedders.packaged_model import DISTRIBUTION, packaged_folder


def measure() -> dict[str, Any]:
    numbers = [int(word) for word in sys.argv[1:]]
    chunks, rounds = (numbers or [1100])[0], (numbers[1:] or [2])[0]
    if packaged_folder() is None:
        raise Missing(f"The model's package {DISTRIBUTION} is not installed.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = plain_text(folder / "corpus", round(chunks / CHUNKS_PER_FILE))
        warm = plain_text(folder / "warm", 30, seed=2)
        walls = [round_of(folder / f"round{number}", corpus, warm) for number in range(rounds)]
    pipeline, bare = (sum(wall[name] for wall in walls) for name in ("pipeline", "bare"))
    return {
        "chunks": [wall.pop("chunks") for wall in walls],
        "overhead": round((pipeline - bare) / pipeline, 4),
        "rounds": walls,
        "load": round(os.getloadavg()[0], 1),
    }


def round_of(folder: Path, corpus: Path, warm: Path) -> dict[str, Any]:
    """Seconds of the pipeline and of the bare model for the same chunks."""
    with database() as url:
        found = run(folder, corpus, warm, extraction=False, database={"url": url})
    walls = {name: round(found["chunks"] / found[f"{name}_per_s"], 2) for name in ("pipeline", "bare")}
    return {"chunks": found["chunks"], **walls}


if __name__ == "__main__":
    report(measure)
