"""Corpora for the chaos tests: folders and sources of generated documents, and edits while they are synced."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from semantik_pipeline.operations import SourceRequest

#: The configuration of a collection that uses every stage and needs no model.
COLLECTION: dict[str, Any] = {
    "embedding": {"plugin": "fake-embedder", "options": {}},
    "chunking": {"plugin": "recursive", "options": {"max_tokens": 40, "min_tokens": 1, "overlap_tokens": 0}},
    "extraction": {"chunk": [{"plugin": "fake-extractor", "options": {}}], "document": []},
}

#: Number of paragraphs of each file of :func:`make_corpus`. With ``COLLECTION``, each paragraph becomes one chunk.
PARAGRAPHS = 2

#: Number of words that make a paragraph so long that two of them do not fit into one chunk of ``COLLECTION``.
LONG_PARAGRAPH = 22


def make_corpus(folder: Path, count: int) -> Path:
    """Write ``count`` text files, no two of them alike, and return the folder."""
    folder.mkdir(exist_ok=True)
    for number in range(count):
        (folder / f"file{number:05}.txt").write_text(_text("File", number, PARAGRAPHS, LONG_PARAGRAPH))
    return folder


def json_lines(folder: Path, name: str, count: int, *, chunks: int = 1) -> SourceRequest:
    """Write a JSON Lines file of ``count`` documents of ``chunks`` chunks each, and return a source that reads it.

    A document of one chunk is a few words long.
    """
    path = folder / f"{name}.jsonl"
    words = LONG_PARAGRAPH if chunks > 1 else 0
    with path.open("w") as file:
        for number in range(count):
            file.write(json.dumps({"id": f"{name}-{number}", "text": _text(name, number, chunks, words)}) + "\n")
    return SourceRequest(connector="jsonl", name=name, config={"path": str(path)})


def in_small_steps(folder: Path, count: int) -> SourceRequest:
    """Return a source with the texts of :func:`make_corpus`, for the fake parser.

    Its connector gives a checkpoint after every fifth document, so that a slice of the sync can end there.
    """
    texts = {path.name: path.read_text() for path in make_corpus(folder / "corpus", count).iterdir()}
    path = folder / "documents.json"
    path.write_text(json.dumps(texts))
    config = {"documents_file": str(path), "checkpoint_every": 5, "media_type": "text/x-fake"}
    return SourceRequest(connector="fake-connector", name="steps", config=config)


@contextmanager
def edits_meanwhile(corpus: Path, every: float = 0.01) -> Iterator[set[str]]:
    """Edit and delete random files of a folder during the block, one every ``every`` seconds.

    Yields a set to which the names of deleted files are added. A deleted file may be written again later.
    """
    chance, over = random.Random(7), threading.Event()
    deleted = set[str]()
    files = sorted(corpus.iterdir())

    def edit() -> None:
        while not over.wait(every):
            victim = chance.choice(files)
            if chance.random() < 0.3:
                victim.unlink(missing_ok=True)
                deleted.add(victim.name)
            else:
                victim.write_text(f"Edited at {time.time()} in mid-run: {victim.name}")

    editor = threading.Thread(target=edit)
    editor.start()
    try:
        yield deleted
    finally:
        over.set()
        editor.join()


def _text(subject: str, number: int, paragraphs: int, words: int) -> str:
    """Return paragraphs of ``words`` words each after an introduction that names the document and the paragraph."""
    return "\n\n".join(
        f"{subject} {number} part {part} speaks of topic{number * 7 % 101} and of "
        + " ".join(f"word{(number * 31 + part * 17 + place) % 997}" for place in range(words))
        for part in range(paragraphs)
    )
