"""The pipeline's speed compared with its bare embedder: ``python benchmarks/throughput.py [CHUNKS] [ROUNDS]
[--no-baseline]``.

Indexes plain text of about CHUNKS (2,000) chunks with the packaged MiniLM, without extraction (``off``) and with the
default extractors (``default``), in one process whose model is loaded and whose child process runs already. It does
each ROUNDS (3) times with different files, and measures the bare embedder before and after each round, because the
speed of a machine often drifts by half within a minute. Prints one JSON object of chunks/s and ratios:

- ``off_to_bare``, ``default_to_bare``: chunks/s of the pipeline, from the start of the sync to the last acknowledged
  point, ÷ chunks/s of the bare embedder with 512 model inputs of similar files (the mean of before and after). The
  value is the median of the rounds; ``rounds`` has the figures of each;
- ``off_to_sentence_transformers`` (not with ``--no-baseline``): chunks/s of one more round without extraction ÷ texts/s
  of ``SentenceTransformer.encode`` in float32 with batches of 32, over 256 of the inputs (the mean of before and
  after).
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import text
from support.corpora import plain_text

from semantik_pipeline import operations
from semantik_pipeline.runtime import Runtime
from semantik_pipeline.settings import load_settings
from workers.embedded import embedded_worker

CHUNKS_PER_FILE = 11.0  # of 900 words
POOL = 256
SAMPLE = 512


def inputs_of(runtime: Runtime, collection: str) -> list[str]:
    """The model inputs of a collection's chunks, in the order of their ids."""
    query = text(
        "select lead || text from chunks where generation_id ="
        " (select active_generation from collections where name = :name) order by id"
    )
    with runtime.ledger.read() as tx:
        return [row[0] for row in tx.execute(query, {"name": collection})]


def bare(runtime: Runtime, collection: str, texts: Sequence[str]) -> float:
    """The seconds that the collection's embedder takes for these texts, one pool (256 texts) at a time."""
    embedder = runtime.embedder(runtime.ledger.search_view(collection).generation_id)
    start = time.perf_counter()
    for place in range(0, len(texts), POOL):
        runtime.host.call(embedder.embed_texts, list(texts[place : place + POOL]))
    return time.perf_counter() - start


def run(folder: Path, corpora: Sequence[Path], warm: Path, *, extraction: bool, **settings: Any) -> dict[str, Any]:
    """Index the corpora one after the other into a new data folder. Returns the rate of each, and the bare
    embedder's."""
    config = {} if extraction else {"extraction": {"enabled": False}}
    with Runtime(load_settings(data_dir=folder, **settings)) as runtime, embedded_worker(runtime):

        def index(path: Path) -> dict:
            operation = operations.begin_sync(
                runtime, [operations.folder_source(path)], collection="default", config=config
            )
            return operations.wait(runtime, operation).result or {}

        index(warm)
        inputs = inputs_of(runtime, "default")
        sample = random.Random(1).sample(inputs, min(SAMPLE, len(inputs)))
        bare(runtime, "default", sample[:128])  # traced and warm from here on
        rounds = []
        before = len(sample) / bare(runtime, "default", sample)
        for corpus in corpora:
            start = time.perf_counter()
            result = index(corpus)
            rate = result["chunks"]["embedded"] / (time.perf_counter() - start)
            after = len(sample) / bare(runtime, "default", sample)
            rounds.append(
                {"chunks": result["chunks"]["embedded"], "pipeline_per_s": rate, "bare_per_s": [before, after]}
            )
            before = after
        return {"rounds": rounds, "sample": sample[:256]}


def ratio(found: dict[str, Any]) -> float:
    """The median over the rounds of the pipeline's rate ÷ the bare embedder's."""
    return statistics.median(one["pipeline_per_s"] / statistics.mean(one["bare_per_s"]) for one in found["rounds"])


def sentence_transformers_rate(texts: Sequence[str]) -> float:
    """Texts/s of sentence-transformers with the packaged model, in float32 with batches of 32."""
    from sentence_transformers import SentenceTransformer

    from semantik_pipeline.builtin.embedders.packaged_model import packaged_folder

    model = SentenceTransformer(str(packaged_folder()), device="cpu")
    model.encode(list(texts[:32]), batch_size=32)
    start = time.perf_counter()
    model.encode(list(texts), batch_size=32, show_progress_bar=False)
    return len(texts) / (time.perf_counter() - start)


def main() -> None:
    given = [int(word) for word in sys.argv[1:] if word.isdigit()]
    chunks, rounds = (*given, *(2000, 3)[len(given) :])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = round(chunks / CHUNKS_PER_FILE)
        corpora = [plain_text(folder / f"corpus{turn}", files, seed=turn) for turn in range(rounds)]
        warm = plain_text(folder / "warm", 60, seed=99)
        off = run(folder / "off", corpora, warm, extraction=False)
        default = run(folder / "default", corpora, warm, extraction=True)
        sample = off.pop("sample")
        default.pop("sample")
        answer = {"off": off, "default": default, "off_to_bare": ratio(off), "default_to_bare": ratio(default)}
        if "--no-baseline" not in sys.argv:
            rates = [sentence_transformers_rate(sample)]
            again = run(folder / "again", corpora[:1], warm, extraction=False)
            rates.append(sentence_transformers_rate(sample))
            answer |= {
                "sentence_transformers_per_s": rates,
                "off_to_sentence_transformers": again["rounds"][0]["pipeline_per_s"] / statistics.mean(rates),
            }
    print(json.dumps(answer, default=float))


if __name__ == "__main__":
    main()
