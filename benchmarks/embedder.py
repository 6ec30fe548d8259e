"""The speed of ``dense-local`` compared with plain sentence-transformers.

    python benchmarks/embedder.py [--texts 256] [--rounds 3] [--model NAME] [--data DIR]

Embeds the same texts with ``dense-local`` as the pipeline uses it (``tuned``), and with ``SentenceTransformer.encode``
in float32 with batches of 32 (``baseline``), alternately. Prints one JSON object:

- ``tuned``, ``baseline``: texts per second, the best of ``--rounds`` rounds each; ``ratio`` is tuned ÷ baseline;
- ``beside_a_busy_thread``: the same while a Python thread computes in this process all the time;
- ``worst_cosine``: the lowest cosine similarity between the two vectors of a text.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from semantik_pipeline.builtin.embedders.dense_local import DEFAULT_MODEL, DenseLocalEmbedder
from semantik_pipeline.builtin.embedders.traced_forward import TRACED_FROM


def main() -> None:
    options = _options()
    texts, origin = _texts(options.texts, options.data)
    embedder = DenseLocalEmbedder({"model": options.model, "device": "cpu"})
    texts = _fitting(embedder, texts)
    tuned, baseline, vectors = _contestants(embedder, texts)
    quiet = _alternate(tuned, baseline, options.rounds, len(texts))
    with _busy_thread():
        busy = _alternate(tuned, baseline, options.rounds, len(texts))
    report = {
        "texts": len(texts),
        "from": origin,
        "mean_tokens": round(float(np.mean(embedder.count_tokens(texts)))),
        **{name: embedder.get_model_info()[name] for name in ("model", "precision", "backend", "batch_tokens")},
        **quiet,
        "beside_a_busy_thread": busy,
        "worst_cosine": round(float((vectors["tuned"] * vectors["baseline"]).sum(1).min()), 6),
    }
    print(json.dumps(report, indent=2))


def _contestants(embedder: DenseLocalEmbedder, texts: list[str]) -> tuple[Callable, Callable, dict[str, np.ndarray]]:
    """Two warmed-up functions that embed all texts, and the dict in which they leave their vectors."""
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(embedder.located.path), device="cpu").float()
    vectors: dict[str, np.ndarray] = {}

    def tuned() -> None:
        vectors["tuned"] = asyncio.run(embedder.embed_texts(texts))

    def baseline() -> None:
        vectors["baseline"] = reference.encode(texts, batch_size=32, normalize_embeddings=True, show_progress_bar=False)

    for _ in range(TRACED_FROM + 2):  # until the forward pass is traced, as it is in a running worker
        asyncio.run(embedder.embed_texts(texts[:1]))
    reference.encode(texts[:8], show_progress_bar=False)
    return tuned, baseline, vectors


def _alternate(tuned: Callable, baseline: Callable, rounds: int, count: int) -> dict[str, float]:
    """Texts per second of each function, the best of the rounds, and their ratio."""
    seconds = {"tuned": float("inf"), "baseline": float("inf")}
    for _ in range(rounds):
        for name, embed in (("tuned", tuned), ("baseline", baseline)):
            start = time.perf_counter()
            embed()
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    rates = {name: round(count / taken, 1) for name, taken in seconds.items()}
    return {**rates, "ratio": round(seconds["baseline"] / seconds["tuned"], 2)}


@contextmanager
def _busy_thread() -> Iterator[None]:
    stop = threading.Event()

    def compute() -> None:
        total = 0
        while not stop.is_set():
            for number in range(20_000):
                total += number * number

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _texts(count: int, data: Path) -> tuple[list[str], str]:
    """Cranfield abstracts if they are available, otherwise generated texts of the same length."""
    corpus = data / "cranfield" / "corpus.jsonl"
    if corpus.is_file():
        texts = [json.loads(line)["text"] for line in corpus.read_text("utf-8").splitlines()]
        return [text for text in texts if text][:count], "cranfield"
    random = np.random.default_rng(0)
    words = [
        "boundary",
        "layer",
        "flow",
        "pressure",
        "heat",
        "transfer",
        "wing",
        "velocity",
        "surface",
        "the",
        "of",
        "and",
        "a",
        "in",
        "at",
        "is",
    ]
    return [" ".join(random.choice(words, random.integers(60, 250))) for _ in range(count)], "generated"


def _fitting(embedder: DenseLocalEmbedder, texts: list[str]) -> list[str]:
    """Cut each text to the model's window. The baseline cuts longer texts anyway, but the tuned embedder reads all of
    them."""
    limit = embedder.max_input_tokens() or 512
    return [embedder.tokenizer.split(text, limit)[0] for text in texts]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    default = os.environ.get("SEMANTIK_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=Path(default))
    return parser.parse_args()


if __name__ == "__main__":
    main()
