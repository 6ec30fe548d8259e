"""The vocabulary of collections: words are learned from indexed documents and forgotten after deletions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from semantik_pipeline.ledger.catalog.collections import SearchView
from semantik_pipeline.ledger.database import chores
from semantik_pipeline.ledger.documents import words
from semantik_pipeline.ledger.documents.words import Lost, Unlearned
from semantik_pipeline.ledger.queue.keys import by_generation
from semantik_pipeline.search.understanding.presence import Presence
from semantik_pipeline.spelling import Words

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

#: Documents that one transaction learns, and about how many distinct words.
DOCUMENTS, WORDS = 500, 20_000

#: Documents whose texts are read together.
PART = 50

#: Lost words that one request to the index checks, between two yields of a sweep.
LOST = 100

#: Seconds between two slices in a fleet; the first worker to ask does it. Learning more documents together writes fewer
#: rows for each.
EVERY = 15.0

#: The ledger's name for the time of the last slice.
CHORE = "words"


def advance(runtime: Runtime, *, seconds: float, last: bool = False) -> bool:
    """Learn the words of recently indexed documents for about ``seconds`` seconds; return whether there is more.

    If another worker has just done this, nothing happens, unless it is the ``last`` chance of this process.
    """
    if not runtime.settings.search.spelling_correction:
        return False
    until = time.monotonic() + seconds
    with runtime.ledger.read() as tx:
        due = words.unlearned(tx, limit=DOCUMENTS)
    if not due:
        return False
    if not last:
        with runtime.ledger.write() as tx:
            if not chores.take(tx, CHORE, every=EVERY):
                return False
    split = Words()
    while due and not runtime.stopping.is_set():
        learned = _learn(runtime, due, split)
        if time.monotonic() >= until or not learned:
            return bool(learned)
        with runtime.ledger.read() as tx:
            due = words.unlearned(tx, limit=DOCUMENTS)
    return bool(due)


def _learn(runtime: Runtime, due: list[Unlearned], split: Words) -> int:
    """Learn as many of these documents as fit one transaction; return their number."""
    found: dict[Unlearned, set[str]] = {unit: set() for unit in due if unit.gone}
    different: set[str] = set()
    living = [unit for unit in due if not unit.gone]
    while living and len(different) < WORDS:
        part, living = living[:PART], living[PART:]
        found |= {unit: set() for unit in part}
        with runtime.ledger.read() as tx:
            for unit, texts in words.texts(tx, part):
                found[unit] |= split.of(texts)
        different.update(*(found[unit] for unit in part))
    with runtime.ledger.write() as tx:
        return words.learn(tx, found)


def sweep(runtime: Runtime) -> Iterator[None]:
    """Forget words that no document contains any more.

    Stop words are forgotten too, because the index does not have them; they are never corrected anyway. Between two
    yields there are a few short transactions and one request to the store.
    """
    after: int | None = 0
    while after is not None:
        with runtime.ledger.read() as tx:
            some, after = words.lost(tx, after=after)
        yield
        for start in range(0, len(some), LOST):
            part = some[start : start + LOST]
            witnesses = _witnesses(runtime, part)
            with runtime.ledger.write() as tx:
                words.settle(tx, part, witnesses)
            yield


def _witnesses(runtime: Runtime, some: list[Lost]) -> dict[Lost, tuple[int, int]]:
    """Return, for each of these words that the index still has, another document that contains it, with its epoch."""
    found: dict[Lost, tuple[int, int]] = {}
    live = set(runtime.live_generations())
    for generation_id, its in by_generation(some):
        if generation_id not in live:
            continue
        seen = Presence(runtime, _view(runtime, generation_id)).documents([one.word for one in its])
        with runtime.ledger.read() as tx:
            epochs = words.epochs(tx, generation_id, set(seen.values()))
        found |= {one: (seen[one.word], epochs[seen[one.word]]) for one in its if seen.get(one.word) in epochs}
    return found


def _view(runtime: Runtime, generation_id: int) -> SearchView:
    one = runtime.generation(generation_id)
    return SearchView(
        collection=one.collection,
        generation_id=one.id,
        index=one.index,
        dimension=one.dimension,
        config=one.config,
    )
