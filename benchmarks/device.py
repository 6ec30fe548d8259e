"""How well the embed stage uses a device: ``python benchmarks/device.py [SHAPE...] [--chunks N]``.

Meant for a machine with a GPU: ``python benchmarks/device.py minilm bge-large --chunks 20000``. Everything runs in one
process, on the device that ``dense-local`` chooses. It needs no server and no download: the ledger is SQLite in a
temporary data folder, the store keeps nothing, the models have the named SHAPE and random weights
(``support/random_models.py``), and the tokenizer is trained on the spot. Without a SHAPE, it measures ``minilm`` and
``bge-large`` if CUDA is available, otherwise ``tiny``, so that it runs anywhere.

Files are synced and chunked first. Then only the embed stage runs, until all chunks are embedded. Prints one JSON
object; for each shape:

- ``stage_to_bare``: tokens/s of the embed stage ÷ ``bare_tokens_per_s``. The tokens are those of the model inputs,
  including special tokens, without padding;
- ``bare_tokens_per_s``: the best rate of the same model on the same texts, all passed at once: the plugin with several
  token budgets, and ``SentenceTransformer.encode`` in the same precision with several batch sizes. ``bare_best`` names
  the fastest of these;
- ``model_to_wall``: seconds in the model's forward pass (from padding to vectors on the host) ÷ wall time of the stage.
  A CPU runs several forward passes in parallel; their seconds are added up;
- ``busy``: seconds that the reader, the embedder and the writer worked ÷ wall time. The embedder's time includes
  tokenising, sorting and waiting for the device. A fast embedder works on two pools at once, so its value may exceed 1;
- ``binds``: the busiest of the three.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from support.corpora import fake_settings, plain_text
from support.random_models import SHAPES, write_model
from throughput import inputs_of

from semantik_pipeline import maintenance, operations, pipeline
from semantik_pipeline.builtin.embedders.loaded_model import LoadedModel
from semantik_pipeline.runtime import Runtime
from semantik_pipeline.settings import load_settings
from semantik_pipeline.stages import embed

BUDGETS = (0.5, 1, 2)  # multiples of the plugin's token budget
BATCHES = (32, 128, 512)
CHUNKS_PER_FILE = 5.0  # of 900 words
WARM = 64  # texts in each of three batches that warm the model up


class Watch:
    """The seconds spent on each of several named activities."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return call(*args, **options)
            finally:
                spent = time.perf_counter() - start
                with self._lock:
                    self.seconds[name] = self.seconds.get(name, 0.0) + spent

        return wrapped

    def drawn(self, name: str, iterate: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        """Time how long an iterator takes to produce its items, without what the caller does with them."""

        def wrapped(*args: Any) -> Iterator[Any]:
            items = iterate(*args)
            step = self.timed(name, lambda: next(items, None))
            while (item := step()) is not None:
                yield item

        return wrapped


def measure(shape: str, chunks: int, folder: Path) -> dict[str, Any]:
    """Measure one shape in a new data folder."""
    model = write_model(folder / "model", SHAPES[shape])
    corpus = plain_text(folder / "corpus", max(1, round(chunks / CHUNKS_PER_FILE)))
    settings, environment = fake_settings(folder, store="null-store")
    sys.path[:0] = environment["PYTHONPATH"].split(os.pathsep)
    os.environ["PYTHONPATH"] = environment["PYTHONPATH"]
    config = {"embedding": {"plugin": "dense-local", "options": {"model": str(model)}}}
    with Runtime(load_settings(settings, data_dir=folder / "data")) as runtime:
        collection = runtime.collection("default", config)
        operations.begin_sync(runtime, [operations.folder_source(corpus)], collection="default")
        drain(runtime, "sync", "chunk")
        texts = inputs_of(runtime, "default")
        embedder = runtime.embedder(runtime.ledger.search_view(collection.name).generation_id)
        for start in range(0, 3 * WARM, WARM):
            runtime.host.call(embedder.embed_texts, texts[start : start + WARM])
        tokens = sum(embedder.count_tokens(texts)) + 2 * len(texts)
        wall, spent = stage(runtime, embedder)
        rates = {name: tokens / seconds for name, seconds in bare(runtime, embedder, texts)}
        best = max(rates, key=lambda name: rates[name])
        about = embedder.get_model_info()
    busy = {name: round(spent[name] / wall, 3) for name in ("reader", "embedder", "writer")}
    return {
        "chunks": len(texts),
        "tokens": tokens,
        **{name: about[name] for name in ("device", "precision", "parameters", "batch_tokens")},
        "stage_tokens_per_s": round(tokens / wall),
        "bare_tokens_per_s": round(rates[best]),
        "bare_best": best,
        "stage_to_bare": round(tokens / wall / rates[best], 3),
        "model_to_wall": round(spent["model"] / wall, 3),
        "busy": busy,
        "binds": max(busy, key=lambda name: busy[name]),
    }


def stage(runtime: Runtime, embedder: Any) -> tuple[float, dict[str, float]]:
    """Run the embed stage on everything that is due. Returns its wall seconds, and the seconds of its three threads and
    of the model."""
    clock = Watch()
    backend = embedder._loaded().backend
    known = (embed.Reader.pools, embed._embed, embed._save, backend.embed)
    embed.Reader.pools = clock.drawn("reader", embed.Reader.pools)  # type: ignore[method-assign]
    embed._embed, embed._save = clock.timed("embedder", embed._embed), clock.timed("writer", embed._save)
    backend.embed = clock.timed("model", backend.embed)
    start = time.perf_counter()
    try:
        drain(runtime, "embed")
    finally:
        embed.Reader.pools, embed._embed, embed._save, backend.embed = known  # type: ignore[method-assign]
    return time.perf_counter() - start, clock.seconds


def drain(runtime: Runtime, *stages: str) -> None:
    """Work on these stages, slice after slice, until none of them has work."""
    while due := set(maintenance.ring_due(runtime)) & set(stages):
        for name in due:
            pipeline.work_on(runtime, name)


def bare(runtime: Runtime, embedder: Any, texts: list[str]) -> Iterator[tuple[str, float]]:
    """Yield ``(how, seconds)`` for embedding all texts with only the warm model."""
    loaded: LoadedModel = embedder._loaded()
    usual = loaded.batch_tokens
    for share in BUDGETS:
        loaded.batch_tokens = int(usual * share)
        start = time.perf_counter()
        runtime.host.call(embedder.embed_texts, texts)
        yield f"plugin, {loaded.batch_tokens} tokens", time.perf_counter() - start
    loaded.batch_tokens = usual
    yield from library(embedder, texts)


def library(embedder: Any, texts: list[str]) -> Iterator[tuple[str, float]]:
    """The same with sentence-transformers, for the batch sizes that fit into memory."""
    import torch
    from sentence_transformers import SentenceTransformer

    about = embedder.get_model_info()
    model = SentenceTransformer(about["path"], device=about["device"]).to(getattr(torch, about["precision"]))
    for size in BATCHES:
        try:
            model.encode(texts[:size], batch_size=size, show_progress_bar=False)
            start = time.perf_counter()
            model.encode(texts, batch_size=size, show_progress_bar=False)
        except torch.OutOfMemoryError:
            return
        yield f"sentence-transformers, {size} texts", time.perf_counter() - start


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help=", ".join(SHAPES))
    parser.add_argument("--chunks", type=int)
    options = parser.parse_args()
    if unknown := set(options.shapes) - set(SHAPES):
        parser.error(f"no shape {min(unknown)!r}; there are {', '.join(SHAPES)}")
    cuda = torch.cuda.is_available()
    shapes = options.shapes or (["minilm", "bge-large"] if cuda else ["tiny"])
    chunks = options.chunks or (20_000 if cuda else 400)
    found: dict[str, Any] = {"gpu": torch.cuda.get_device_name() if cuda else None}
    for shape in shapes:
        with tempfile.TemporaryDirectory() as name:
            found[shape] = measure(shape, chunks, Path(name))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
