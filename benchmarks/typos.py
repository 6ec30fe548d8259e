"""How much typing errors harm a search: ``python benchmarks/typos.py [DATASET ...] [--docs] [--words N] [--data-dir
DIR]``.

DATASET is a folder in the BEIR layout; ``--docs`` (the default without a DATASET) adds the project's own pages. Each is
indexed through the whole pipeline; with ``--data-dir``, DIR keeps the index for the next run. Each query is the title
of a document or a sentence from it, and that document is the only right answer; texts that occur in several documents
are left out. Then one error is made in the rarest word of the query that has four letters or more. The errors
alternate: an extra letter, a missing letter, a wrong letter, two letters swapped. ``--words N`` reduces each title or
sentence to its N rarest words, as people search; an error then weighs more.

Prints one JSON object with Recall@10, without reranking. All figures of a set come from the same queries:

- ``clean``: of the queries without errors; ``mended``: with errors, which the search corrects; ``unmended``: with
  errors that are not corrected;
- ``kept``, ``kept_unmended``: ``mended`` ÷ ``clean`` and ``unmended`` ÷ ``clean``;
- ``ms``: milliseconds per query with errors.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import string
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from semantik_pipeline import vocabulary
from semantik_pipeline.ledger.tables import chunks, collections, documents
from semantik_pipeline.operations import SourceRequest, begin_sync, folder_source, wait
from semantik_pipeline.runtime import Runtime
from semantik_pipeline.search import SearchQuery, search
from semantik_pipeline.settings import load_settings
from semantik_pipeline.spelling import words_at, words_of
from workers.embedded import embedded_worker

REPO = Path(__file__).resolve().parents[1]
DEPTH = 10
SENTENCE = re.compile(r"[^.!?\n]{40,160}[.!?]")


@dataclass(frozen=True, kw_only=True)
class KnownItem:
    """A query, the same query with a typing error, and the one document that answers it."""

    text: str
    typed: str
    document: str
    word: str


def main() -> None:
    asked = _arguments()
    answers: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, Runtime(load_settings(data_dir=asked.data_dir or folder)) as runtime:
        sources = _sources(asked)
        index(runtime, sources)
        for name, _ in sources:
            items = known_items(runtime, name, asked.queries, asked.words)
            if not items:
                sys.exit(
                    f"{name}: no queries could be drawn. Its documents need titles or sentences, and --queries > 0."
                )
            answers[name] = compare(runtime, name, items, asked.mode)
            print(f"{name}: {answers[name]}", file=sys.stderr, flush=True)
    print(json.dumps({"recall_at": DEPTH, "mode": asked.mode, "words": asked.words, "sets": answers}, indent=2))


def index(runtime: Runtime, sources: list[tuple[str, SourceRequest]]) -> None:
    """Index each source into a collection of its name, and learn its words."""
    with embedded_worker(runtime):
        for collection, source in sources:
            wait(runtime, begin_sync(runtime, [source], collection=collection))
        while vocabulary.advance(runtime, seconds=60, last=True):
            pass


def known_items(runtime: Runtime, collection: str, count: int, words: int = 0) -> list[KnownItem]:
    """Draw up to ``count`` queries, half of them titles and half sentences, the same ones in each run. A collection
    with few documents gives several sentences per document."""
    dice = random.Random(20260101)
    texts = _texts(runtime, collection)
    if not texts:
        return []
    frequency = Counter(word for text in texts.values() for word in words_of(text))
    drawn: list[tuple[str, str]] = []
    for name in dice.sample(sorted(texts), len(texts)) * (1 + 2 * count // len(texts)):
        title, _, body = texts[name].partition("\n")
        sentences = [found.strip() for found in SENTENCE.findall(body)]
        wanted = title if len(drawn) % 2 == 0 and len(title) >= 15 else dice.choice(sentences or [""])
        if wanted and (name, wanted) not in drawn and sum(wanted in other for other in texts.values()) == 1:
            drawn.append((name, wanted))
    if words:
        drawn = [(name, rarest(text, frequency, words)) for name, text in drawn]
    items = (_item(name, text, frequency, kind, dice) for kind, (name, text) in enumerate(drawn))
    return [item for item in items if item is not None][:count]


def rarest(text: str, frequency: Counter[str], words: int) -> str:
    """The ``words`` rarest words of a text, in the order in which they occur."""
    found = list(dict.fromkeys(word for _, _, word in words_at(text)))
    kept = sorted(found, key=lambda word: (frequency[word], word))[:words]
    return " ".join(word for word in found if word in kept)


def compare(runtime: Runtime, collection: str, items: list[KnownItem], mode: Any) -> dict[str, Any]:
    plain = SearchQuery(text="", collection=collection, limit=DEPTH, rerank=False, mode=mode, postprocessors=[])
    clean, _ = recall(runtime, plain, items, lambda item: item.text)
    mended, seconds = recall(runtime, plain, items, lambda item: item.typed)
    raw, _ = recall(runtime, replace(plain, interpret=False), items, lambda item: item.typed)
    share = {"kept": mended / clean if clean else 0.0, "kept_unmended": raw / clean if clean else 0.0}
    found = {"queries": len(items), "clean": clean, "mended": mended, "unmended": raw, **share, "ms": seconds * 1000}
    return {name: round(value, 4) for name, value in found.items()}


def recall(
    runtime: Runtime, plain: SearchQuery, items: list[KnownItem], of: Callable[[KnownItem], str]
) -> tuple[float, float]:
    """The share of items whose document is among the first DEPTH (10) hits, and the seconds per query."""
    start, found = time.perf_counter(), 0
    for item in items:
        hits = search(runtime, replace(plain, text=of(item))).hits
        found += item.document in {hit.document for hit in hits}
    return found / len(items), (time.perf_counter() - start) / len(items)


def mistyped(word: str, kind: int, dice: random.Random) -> str:
    """The word with one error. ``kind`` (mod 4) selects an extra letter, a missing letter, a wrong letter, or two
    letters swapped."""
    at = dice.randrange(len(word) - 1)
    other = dice.choice([letter for letter in string.ascii_lowercase if letter not in word[at : at + 2]])
    swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    made = (word[:at] + other + word[at:], word[:at] + word[at + 1 :], word[:at] + other + word[at + 1 :], swapped)
    return made[kind % 4] if made[kind % 4] != word else made[0]


def _item(name: str, text: str, frequency: Counter[str], kind: int, dice: random.Random) -> KnownItem | None:
    found = [(frequency[word], start, end, word) for start, end, word in words_at(text) if len(word) >= 4]
    if not found:
        return None
    _, start, end, word = min(found)
    return KnownItem(text=text, typed=text[:start] + mistyped(word, kind, dice) + text[end:], document=name, word=word)


def _texts(runtime: Runtime, collection: str) -> dict[str, str]:
    """Map each document to its title, a line break, and its text."""
    from sqlalchemy import select

    columns = select(documents.c.unique_id, documents.c.title, chunks.c.text)
    joined = columns.join(chunks, chunks.c.document_id == documents.c.id).join(
        collections, collections.c.active_generation == chunks.c.generation_id
    )
    living = joined.where(collections.c.name == collection, documents.c.deleted_at.is_(None))
    found: dict[str, list[str]] = {}
    with runtime.ledger.read() as tx:
        for name, title, text in tx.execute(living.order_by(documents.c.id, chunks.c.ordinal)):
            found.setdefault(name, [title or ""]).append(text)
    return {name: "\n".join(parts) for name, parts in found.items()}


def _sources(asked: argparse.Namespace) -> list[tuple[str, SourceRequest]]:
    found = [
        (path.name, SourceRequest(connector="jsonl", name=str(corpus), config={"path": str(corpus)}))
        for path in asked.datasets
        for corpus in [(path / "corpus.jsonl").absolute()]
    ]
    if asked.docs or not found:
        found.append(("docs", folder_source(REPO / "docs", include=["*.md"])))
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", type=Path, nargs="*")
    parser.add_argument("--docs", action="store_true", help="the project's own pages")
    parser.add_argument("--data-dir", type=Path, help="keep the index here and use it again")
    parser.add_argument("--mode", choices=["hybrid", "dense", "sparse"], default="hybrid")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--words", type=int, default=0, help="ask for the rarest words only, this many")
    return parser.parse_args()


if __name__ == "__main__":
    main()
