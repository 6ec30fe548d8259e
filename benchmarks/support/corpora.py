"""Corpora and fake plugins for the benchmarks. The corpora are generated plain text; all files differ."""

from __future__ import annotations

import json
import os
import pydoc_data.topics
import random
import re
from pathlib import Path

FAKES = """[semantik.plugins]
fake-embedder = semantik_pipeline.testing:FakeEmbedder
null-embedder = null_embedder:NullEmbedder
null-store = null_store:NullStore
"""


def sentences() -> list[str]:
    """Sentences from Python's reference topics, which are real prose."""
    return [
        " ".join(sentence.split())
        for text in pydoc_data.topics.topics.values()
        for sentence in re.split(r"(?<=[.!?])\s+", text)
        if 6 <= len(sentence.split()) <= 40
    ]


def plain_text(folder: Path, files: int, *, words: int = 900, seed: int = 1) -> Path:
    """Write files of about ``words`` words, made of random sentences. Returns the folder."""
    chance, known = random.Random(seed), sentences()
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(files):
        parts, count = [f"Note {number}."], 0
        while count < words:
            sentence = chance.choice(known)
            parts.append(sentence + ("\n\n" if chance.random() < 0.15 else ""))
            count += len(sentence.split())
        (folder / f"note{number:05}.txt").write_text(" ".join(parts))
    return folder


def fake_settings(
    folder: Path, *, extraction: bool = False, store: str | None = None, embedder: str = "fake-embedder"
) -> tuple[Path, dict[str, str]]:
    """Write a settings file that uses a fake embedder (384 dimensions). Returns its path, and the environment in which
    the fakes are installed."""
    info = folder / "plugins" / "semantik_fakes-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: semantik-fakes\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(FAKES)
    settings = folder / "semantik.toml"
    settings.write_text(
        f'[collection.embedding]\nplugin = "{embedder}"\n[collection.embedding.options]\ndimension = 384\n'
        f"[collection.extraction]\nenabled = {json.dumps(extraction)}\n"
        + (f'[store]\nplugin = "{store}"\n' if store else "")
    )
    places = (folder / "plugins", Path(__file__).parent)
    return settings, {"PYTHONPATH": os.pathsep.join(map(str, places))}
