"""The speed of rerankers, and whether they keep their deadline: ``python benchmarks/rerankers.py [--rounds N]``.

The models have the shape of real ones but random weights (``support/random_models.py``), which does not change their
speed. Passages are sentences from Python's reference topics, of mixed lengths up to TOKENS (200), counted by the
model's own tokenizer. Everything runs warm in one process. Prints one JSON object:

- ``late_interaction``: milliseconds of ``late-interaction`` for 50 passages with a model of MiniLM-L6's shape, median
  and best of the rounds; ``milliseconds_to_limit`` is the median ÷ 400;
- ``cross_encoder``: pairs/s of ``cross-encoder`` with a model of MiniLM-L6's shape. ``to_predict`` and ``to_unsorted``
  are that rate ÷ pairs/s of ``CrossEncoder.predict`` in float32 on the same pairs: passed all at once, so that it sorts
  them, and passed 32 at a time in their given order. The three alternate; each rate is the best of the rounds;
- ``deadline``: a search's reranking of 100 candidates with its default deadline (500 ms), with each reranker, in this
  machine's precision and in float32, and with a model of bge-large's shape: milliseconds until the order is known, the
  worst of the rounds, and how many candidates were scored;
- ``on_gpu`` (with a GPU only): milliseconds until all 100 candidates, of up to 256 tokens, are scored.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from support.corpora import sentences
from support.random_models import SHAPES, write_cross_encoder, write_model

from semantik_pipeline.builtin.embedders.model_tokenizer import ModelTokenizer
from semantik_pipeline.builtin.embedders.traced_forward import TRACED_FROM
from semantik_pipeline.builtin.rerankers.cross_encoder import CrossEncoderReranker
from semantik_pipeline.builtin.rerankers.late_interaction import LateInteractionReranker
from semantik_pipeline.plugins.host import PluginHost
from semantik_pipeline.plugins.state import PluginState
from semantik_pipeline.search import SearchQuery
from semantik_pipeline.search.fusion import Candidate
from semantik_pipeline.search.request import plan_search
from semantik_pipeline.search.reranking import rerank
from semantik_pipeline.settings import Search

#: Tokens of the longest passage, which is a chunk's usual limit, and of the shortest. Cranfield's chunks average 137.
TOKENS, SHORTEST = 200, 80
QUERY = "how does a generator expression bind its variables"
LIMIT_MS = 400
PAIRS = 192
BASELINE_BATCH = 32


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        embedder = write_model(folder / "embedder", SHAPES["minilm"])
        cross = write_cross_encoder(folder / "cross", SHAPES["minilm"])
        large = write_cross_encoder(folder / "large", SHAPES["bge-large"])
        texts = passages(ModelTokenizer(embedder), PAIRS, TOKENS)
        found: dict[str, Any] = {"threads": torch.get_num_threads(), "tokens": mean_tokens(embedder, texts)}
        found["late_interaction"] = late_interaction(embedder, texts[:50], rounds)
        tell(found)
        found["cross_encoder"] = cross_encoder(cross, texts, rounds)
        tell(found)
        found["deadline"] = dict(deadlines(embedder, cross, large, texts[:100], rounds))
        if torch.cuda.is_available():
            long = passages(ModelTokenizer(embedder), 100, 256, shortest=250)
            found["gpu"], found["on_gpu"] = torch.cuda.get_device_name(), on_gpu(embedder, cross, long, rounds)
    print(json.dumps(found))


def passages(tokenizer: ModelTokenizer, count: int, most: int, *, shortest: int = SHORTEST) -> list[str]:
    """Texts whose lengths are spread evenly from ``shortest`` to ``most`` tokens, in random order."""
    chance, known = random.Random(1), sentences()
    texts = []
    for number in range(count):
        wanted, words = shortest + (most - shortest) * number // max(1, count - 1), ""
        while tokenizer.count([words])[0] < wanted:
            words = f"{words} {chance.choice(known)}"
        texts.append(tokenizer.split(words, wanted)[0])
    chance.shuffle(texts)
    return texts


def mean_tokens(model: Path, texts: list[str]) -> float:
    return round(statistics.mean(ModelTokenizer(model).count(texts)), 1)


def late_interaction(model: Path, texts: list[str], rounds: int) -> dict[str, Any]:
    plugin = LateInteractionReranker({"model": str(model)})
    warm(plugin, texts)
    spent = []
    for number in range(rounds):  # each query is new, so nothing about it is cached
        query = f"{QUERY} {number}"
        spent.append(seconds(lambda query=query: asyncio.run(plugin.rerank(query, texts))))
    milliseconds = statistics.median(spent) * 1000
    return {
        "passages": len(texts),
        "precision": plugin.loaded().model.backend.precision,
        "milliseconds": round(milliseconds, 1),
        "best": round(min(spent) * 1000, 1),
        "milliseconds_to_limit": round(milliseconds / LIMIT_MS, 3),
    }


def cross_encoder(model: Path, texts: list[str], rounds: int) -> dict[str, Any]:
    from sentence_transformers import CrossEncoder

    plugin = CrossEncoderReranker({"model": str(model)})
    reference = CrossEncoder(str(model), device=None).float()
    pairs = [(QUERY, text) for text in texts]

    def unsorted() -> None:
        for start in range(0, len(pairs), BASELINE_BATCH):
            reference.predict(pairs[start : start + BASELINE_BATCH], show_progress_bar=False)

    warm(plugin, texts)
    reference.predict(pairs[:BASELINE_BATCH], show_progress_bar=False)
    ways: dict[str, Callable[[], Any]] = {
        "ours": lambda: asyncio.run(plugin.rerank(QUERY, texts)),
        "predict": lambda: reference.predict(pairs, batch_size=BASELINE_BATCH, show_progress_bar=False),
        "unsorted": unsorted,
    }
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, way in ways.items():
            best[name] = min(best[name], seconds(way))
    return {
        "pairs": len(pairs),
        "precision": plugin.loaded().backend.precision,
        **{f"{name}_per_s": round(len(pairs) / spent, 1) for name, spent in best.items()},
        "to_predict": round(best["predict"] / best["ours"], 2),
        "to_unsorted": round(best["unsorted"] / best["ours"], 2),
    }


def deadlines(
    embedder: Path, cross: Path, large: Path, texts: list[str], rounds: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Measure each reranker under a search's deadline."""
    late = {"model": str(embedder)}
    ways: dict[str, list[tuple[str, dict[str, Any]]]] = {
        "relevance-feedback": [("relevance-feedback", {})],
        "late-interaction": [("late-interaction", late)],
        "late-interaction float32": [("late-interaction", {**late, "precision": "float32"})],
        "cross-encoder": [("cross-encoder", {"model": str(cross)})],
        "cross-encoder bge-large float32": [("cross-encoder", {"model": str(large), "precision": "float32"})],
        "late-interaction, cross-encoder": [("late-interaction", late), ("cross-encoder", {"model": str(cross)})],
    }
    host = PluginHost.start(PluginState(), kinds=["reranker"])
    try:
        for name, chain in ways.items():
            yield name, within_deadline(host, chain, texts, rounds)
    finally:
        host.close()


def within_deadline(
    host: PluginHost, chain: list[tuple[str, dict[str, Any]]], texts: list[str], rounds: int
) -> dict[str, Any]:
    """The worst milliseconds, and the smallest and largest number of candidates that the chain's first reranker
    scored."""
    spent, scored = [], []
    for number in range(rounds + 2):  # the first two warm up
        began = time.perf_counter()
        outcome = reranked(host, chain, texts, f"{QUERY} {number}")
        spent.append((time.perf_counter() - began) * 1000)
        scored.append(outcome.reports[0].scored)
        assert len(outcome.ranked) == len(texts)
    return {"worst_ms": round(max(spent[2:]), 1), "scored": [min(scored[2:]), max(scored[2:])], "of": len(texts)}


def reranked(host: PluginHost, chain: list[tuple[str, dict[str, Any]]], texts: list[str], query: str, **asked: Any):
    rerankers = [{"plugin": plugin, "options": options} for plugin, options in chain]
    question = SearchQuery(text=query, candidates=len(texts), **asked)
    plan = plan_search(question, Search(), {"search": {"rerankers": rerankers}})
    vectors = np.random.default_rng(1).normal(size=(len(texts), 384)).astype(np.float32)
    candidates = [
        Candidate(id=str(place), fused=1 - place / len(texts), payload={"text": text})
        for place, text in enumerate(texts)
    ]
    return rerank(host, plan, candidates, vectors=lambda some: [vectors[int(one.id)] for one in some])


def on_gpu(embedder: Path, cross: Path, texts: list[str], rounds: int) -> dict[str, Any]:
    """The median and worst milliseconds until all candidates are scored."""
    host = PluginHost.start(PluginState(), kinds=["reranker"])
    found = {}
    try:
        for plugin, model in (("late-interaction", embedder), ("cross-encoder", cross)):
            spent = []
            for number in range(rounds + 8):
                began = time.perf_counter()
                outcome = reranked(host, [(plugin, {"model": str(model)})], texts, f"{QUERY} {number}")
                spent.append((time.perf_counter() - began) * 1000)
            assert outcome.reports[0].scored == len(texts), outcome.warnings
            found[plugin] = {
                "milliseconds": round(statistics.median(spent[8:]), 1),
                "worst": round(max(spent[8:]), 1),
            }
    finally:
        host.close()
    return found


def tell(found: dict[str, Any]) -> None:
    """Print the figures so far to stderr, because the rest takes minutes on a busy machine."""
    print(json.dumps(found), file=sys.stderr, flush=True)


def warm(plugin: Any, texts: list[str]) -> None:
    """Call the plugin until its forward pass is traced, as it is in a running server."""
    for number in range(TRACED_FROM + 2):
        asyncio.run(plugin.rerank(f"{QUERY} warm {number}", texts[:1]))
    asyncio.run(plugin.rerank(QUERY, texts))


def seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
