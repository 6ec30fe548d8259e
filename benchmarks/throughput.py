"""The pipeline against its own embedder: ``python benchmarks/throughput.py [CHUNKS] [--no-baseline]``.

Indexes plain text of about CHUNKS (2,000) chunks with the packaged MiniLM, extraction off and with the default
extractors, in one process whose model is loaded and whose child runs. Prints one JSON object of chunks/s and ratios:

- ``off_to_bare``, ``default_to_bare``: chunks/s from the start of the sync to the last acknowledged point ÷ chunks/s of
  the same model inputs through the bare embedder (half of them before the run, half after, since machines drift);
- ``off_to_sentence_transformers``: ÷ texts/s of ``SentenceTransformer.encode`` in float32, batch 32, over 256 of them.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from corpora import plain_text
from sqlalchemy import text

from semantik_pipeline import operations
from semantik_pipeline.runtime import Runtime
from semantik_pipeline.settings import load_settings
from workers.embedded import embedded_worker

CHUNKS_PER_FILE = 11.0  # of 900 words
POOL = 256


def inputs_of(runtime: Runtime, collection: str) -> list[str]:
    """The model inputs of a collection's chunks, in the order in which they are stored."""
    query = text(
        "select lead || text from chunks where generation_id ="
        " (select active_generation from collections where name = :name) order by id"
    )
    with runtime.ledger.read() as tx:
        return [row[0] for row in tx.execute(query, {"name": collection})]


def bare(runtime: Runtime, collection: str, texts: Sequence[str]) -> float:
    """Seconds that the collection's embedder takes for these texts, a pool at a time."""
    embedder = runtime.embedder(runtime.ledger.search_view(collection).generation_id)
    start = time.perf_counter()
    for place in range(0, len(texts), POOL):
        runtime.host.call(embedder.embed_texts, list(texts[place : place + POOL]))
    return time.perf_counter() - start


def run(folder: Path, corpus: Path, warm: Path, *, extraction: bool, **settings: Any) -> dict[str, Any]:
    """Index the corpus in a fresh data folder; its rate and the bare embedder's."""
    config = {} if extraction else {"extraction": {"enabled": False}}
    with Runtime(load_settings(data_dir=folder, **settings)) as runtime, embedded_worker(runtime):

        def index(path: Path) -> dict:
            operation = operations.begin_sync(
                runtime, [operations.folder_source(path)], collection="default", config=config
            )
            return operations.wait(runtime, operation).result or {}

        index(warm)
        sample = random.Random(1).sample(inputs_of(runtime, "default"), 128)
        bare(runtime, "default", sample)  # traced and warm from here on
        before = bare(runtime, "default", sample) / len(sample)
        start = time.perf_counter()
        result = index(corpus)
        seconds = time.perf_counter() - start
        inputs = inputs_of(runtime, "default")[-result["chunks"]["total"] :]
        after = bare(runtime, "default", inputs) / len(inputs)
        return {
            "chunks": result["chunks"]["embedded"],
            "pipeline_per_s": result["chunks"]["embedded"] / seconds,
            "bare_per_s": 1 / after,
            "bare_before_per_s": 1 / before,
            "sample": inputs[:256],
        }


def sentence_transformers_rate(texts: Sequence[str]) -> float:
    """texts/s of the plain library on the packaged model, float32, batch 32."""
    from sentence_transformers import SentenceTransformer

    from semantik_pipeline.builtin.embedders.packaged_model import packaged_folder

    model = SentenceTransformer(str(packaged_folder()), device="cpu")
    model.encode(list(texts[:32]), batch_size=32)
    start = time.perf_counter()
    model.encode(list(texts), batch_size=32, show_progress_bar=False)
    return len(texts) / (time.perf_counter() - start)


def main() -> None:
    chunks = next((int(word) for word in sys.argv[1:] if word.isdigit()), 2000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = plain_text(folder / "corpus", round(chunks / CHUNKS_PER_FILE))
        warm = plain_text(folder / "warm", 30, seed=2)
        off = run(folder / "off", corpus, warm, extraction=False)
        print(json.dumps({"off": {**off, "sample": len(off["sample"])}}, default=float), file=sys.stderr)
        default = run(folder / "default", corpus, warm, extraction=True)
        sample = off.pop("sample")
        default.pop("sample")
        answer = {
            "off": off,
            "default": default,
            "off_to_bare": off["pipeline_per_s"] / off["bare_per_s"],
            "default_to_bare": default["pipeline_per_s"] / default["bare_per_s"],
        }
        if "--no-baseline" not in sys.argv:
            baseline = sentence_transformers_rate(sample)
            answer |= {
                "sentence_transformers_per_s": baseline,
                "off_to_sentence_transformers": off["pipeline_per_s"] / baseline,
            }
    print(json.dumps(answer, default=float))


if __name__ == "__main__":
    main()
