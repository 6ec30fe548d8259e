"""The words of each generation's documents, so that typing errors in queries can be detected and corrected.

A word has a *witness*: a document and the epoch of its chunk rows that contain the word. When that document is deleted
or its text changes, the word loses its witness. The next sweep deletes it, unless another document is found to contain
it. So there are no counters to decrease, and indexing or deleting a document writes nothing here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    Engine,
    Text,
    and_,
    bindparam,
    delete,
    exists,
    func,
    literal,
    select,
    text,
    union,
    update,
)

from semantik_pipeline.ledger.database.bulk import among, update_rows
from semantik_pipeline.ledger.database.connection import Transaction, insert_for
from semantik_pipeline.ledger.database.questions import Question
from semantik_pipeline.ledger.tables import chunks, documents, words, work
from semantik_pipeline.ledger.tables.queue import UNLEARNED

#: Chunk rows held in memory at once while words are learned.
PIECE = 1000

#: Rows that one transaction of a sweep reads or deletes.
SWEPT = 2000

_UNLEARNED = text(UNLEARNED)

_LAST = "\U0010ffff"


@dataclass(frozen=True, kw_only=True)
class Unlearned:
    """A document whose words are to be learned, in one generation.

    ``epoch``: of its chunk rows. ``chunks``: their number. ``gone``: the document is no longer indexed, so it has no
    words.
    """

    generation_id: int
    document_id: int
    epoch: int
    chunks: int
    gone: bool


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A word that has lost its witness. ``id``: of its row."""

    id: int
    generation_id: int
    word: str


def unlearned(tx: Transaction, *, limit: int) -> list[Unlearned]:
    """Return up to ``limit`` documents whose words are to be learned, all of one generation."""
    columns = (work.c.generation_id, work.c.document_id, work.c.indexed_chunks_epoch, work.c.chunks, work.c.goal)
    rows = tx.execute(select(*columns).where(_UNLEARNED).order_by(work.c.generation_id).limit(limit)).all()
    return [
        Unlearned(generation_id=row[0], document_id=row[1], epoch=row[2], chunks=row[3], gone=row[4] != "indexed")
        for row in rows
        if row[0] == rows[0][0]
    ]


def texts(tx: Transaction, units: Sequence[Unlearned]) -> Iterator[tuple[Unlearned, list[str]]]:
    """Yield (unit, texts) with the titles and chunk texts of these units, which must be of one generation.

    A unit comes several times: once with its title and once for each chunk row.
    """
    by_id = {unit.document_id: unit for unit in units}
    titles = select(documents.c.id, documents.c.title).where(documents.c.id.in_(sorted(by_id)))
    yield from ((by_id[id], [title or ""]) for id, title in tx.execute(titles))
    for some, after in _pieces(units):
        which = and_(
            chunks.c.generation_id == some[0].generation_id,
            chunks.c.document_id.in_([unit.document_id for unit in some]),
            chunks.c.epoch.in_(sorted({unit.epoch for unit in some})),
            chunks.c.ordinal.between(after, after + PIECE - 1),
        )
        query = select(chunks.c.document_id, chunks.c.epoch, chunks.c.lead, chunks.c.text).where(which)
        for document_id, epoch, lead, said in tx.execute(query):
            if by_id[document_id].epoch == epoch:
                yield by_id[document_id], [lead, said]


def _pieces(units: Sequence[Unlearned]) -> Iterator[tuple[list[Unlearned], int]]:
    """Yield (units to read together, first ordinal), so that at most PIECE chunks are read at once."""
    some: list[Unlearned] = []
    for unit in units:
        if some and sum(one.chunks for one in some) + unit.chunks > PIECE:
            yield some, 0
            some = []
        if unit.chunks > PIECE:
            yield from (([unit], after) for after in range(0, unit.chunks, PIECE))
        else:
            some.append(unit)
    if some:
        yield some, 0


def learn(tx: Transaction, found: Mapping[Unlearned, Collection[str]]) -> int:
    """Store the words of these units, which must be of one generation. Units that were revised since are skipped.

    Returns the number of learned documents.
    """
    by_id = {unit.document_id: unit for unit in found}
    generation_id = next(iter(found)).generation_id
    which = and_(work.c.generation_id == generation_id, work.c.document_id.in_(sorted(by_id)), _UNLEARNED)
    columns = select(work.c.document_id, work.c.indexed_chunks_epoch, work.c.goal).where(which)
    rows = tx.execute(columns.order_by(work.c.document_id).with_for_update(skip_locked=True)).all()
    same = [id for id, epoch, goal in rows if epoch == by_id[id].epoch and (goal != "indexed") == by_id[id].gone]
    if not same:
        return 0
    of_these = and_(work.c.generation_id == generation_id, work.c.document_id.in_(same))
    tx.execute(update(work).where(of_these).values(learned_epoch=work.c.indexed_chunks_epoch))
    seen: dict[str, list[int]] = {}
    for document_id in same:
        for word in found[by_id[document_id]]:
            seen.setdefault(word, []).append(document_id)
    witnesses = {word: (len(ids), by_id[ids[-1]]) for word, ids in seen.items()}
    _put(tx, generation_id, witnesses)
    return len(same)


def _put(tx: Transaction, generation_id: int, witnesses: Mapping[str, tuple[int, Unlearned]]) -> None:
    """Insert words, or update their counts and witnesses. Rows are in word order, so that writers can't deadlock."""
    if tx.dialect.name == "sqlite":
        statement = insert_for(tx, words)
        new = statement.excluded
        newer = {name: new[name] for name in ("document_id", "epoch")}
        counted = {"documents": words.c.documents + new.documents}
        again = statement.on_conflict_do_update(index_elements=["generation_id", "word"], set_={**counted, **newer})
        rows = [
            {
                "generation_id": generation_id,
                "word": word,
                "backwards": word[::-1],
                "documents": count,
                "document_id": unit.document_id,
                "epoch": unit.epoch,
            }
            for word, (count, unit) in sorted(witnesses.items())
        ]
        if rows:
            tx.execute(again, rows)
        return
    ordered = sorted(witnesses.items())
    given = {
        "generation": generation_id,
        "word": [word for word, _ in ordered],
        "backwards": [word[::-1] for word, _ in ordered],
        "documents": [count for _, (count, _) in ordered],
        "document": [unit.document_id for _, (_, unit) in ordered],
        "epoch": [unit.epoch for _, (_, unit) in ordered],
    }
    tx.execute(_PUT, given)


_PUT = text(
    "insert into words (generation_id, word, backwards, documents, document_id, epoch)"
    " select :generation, v.* from unnest(cast(:word as text[]), cast(:backwards as text[]),"
    " cast(:documents as integer[]), cast(:document as bigint[]), cast(:epoch as integer[])) as v"
    " on conflict (generation_id, word) do update set documents = words.documents + excluded.documents,"
    " document_id = excluded.document_id, epoch = excluded.epoch"
)


# -- queries -----------------------------------------------------------------------------------------------------------


def known(engine: Engine, generation_id: int, asked: Collection[str]) -> set[str]:
    """Return those of the words that the generation has."""
    return {word for (word,) in _KNOWN.asked(engine, generation=generation_id, words=sorted(asked))}


_KNOWN = Question(
    select(words.c.word).where(words.c.generation_id == bindparam("generation"), among(words.c.word, "words"))
)


def resembling(
    tx: Transaction,
    generation_id: int,
    word: str,
    *,
    beginning: int,
    end: int,
    longer: int,
    others: Collection[str],
    after: str = "",
    limit: int,
) -> list[tuple[str, int]]:
    """Return up to ``limit`` pairs ``(similar word, documents)``, in word order, after the word ``after``.

    A word is similar to ``word`` if it has the same first ``beginning`` or last ``end`` letters, or is one of
    ``others``; and if its length differs by at most ``longer``.
    """
    first, last = word[:beginning], word[: len(word) - end - 1 : -1]
    length = func.length(words.c.word).between(len(word) - longer, len(word) + longer)
    ways = (
        _begins(words.c.word, first),
        _begins(words.c.backwards, last),
        words.c.word.in_([literal(one, Text()) for one in sorted(others)]),
    )
    behind = words.c.word > literal(after, Text())
    columns = select(words.c.word, words.c.documents).where(words.c.generation_id == generation_id, length, behind)
    alike = union(*(columns.where(way) for way in ways)).subquery()  # a union, so that each way can use an index
    rows = tx.execute(select(alike.c.word, alike.c.documents).order_by(alike.c.word).limit(limit)).all()
    return [(row[0], row[1]) for row in rows]


def _begins(column: ColumnElement[str], beginning: str) -> ColumnElement[bool]:
    # Plain Text parameters: those of the column's own type would be cast to it, and PostgreSQL rejects a cast to a type
    # with a collation.
    return column.between(literal(beginning, Text()), literal(beginning + _LAST, Text()))


# -- sweeping ----------------------------------------------------------------------------------------------------------


def _witnessed() -> ColumnElement[bool]:
    """Condition: the word's witness is still valid."""
    return exists().where(
        work.c.document_id == words.c.document_id,
        work.c.generation_id == words.c.generation_id,
        work.c.indexed_chunks_epoch == words.c.epoch,
        work.c.goal == "indexed",
    )


def lost(tx: Transaction, *, after: int) -> tuple[list[Lost], int | None]:
    """Return the words without a witness among the next SWEPT rows after the id ``after``, and the id after which to
    continue, or None at the end."""
    behind = select(words.c.id).where(words.c.id > after).order_by(words.c.id)
    last = tx.execute(behind.offset(SWEPT - 1).limit(1)).scalar_one_or_none()
    part = words.c.id > after if last is None else words.c.id.between(after + 1, last)
    query = select(words.c.id, words.c.generation_id, words.c.word).where(part, ~_witnessed())
    rows = tx.execute(query.order_by(words.c.generation_id, words.c.word)).all()
    return [Lost(id=row[0], generation_id=row[1], word=row[2]) for row in rows], last


def settle(tx: Transaction, some: Sequence[Lost], witnesses: Mapping[Lost, tuple[int, int]]) -> None:
    """Give lost words their new witnesses (document id, epoch of its chunk rows), and delete those without one.

    Words that were learned again meanwhile are left as they are.
    """
    which = and_(among(words.c.id, sorted(one.id for one in some)), ~_witnessed())
    rows = select(words.c.id, words.c.generation_id, words.c.word).where(which)
    # locked in the same order as in learn(), so that the two can't deadlock
    locked = rows.order_by(words.c.generation_id, words.c.word).with_for_update()
    left = {Lost(id=row[0], generation_id=row[1], word=row[2]) for row in tx.execute(locked)}.intersection(some)
    found = [(one.id, *witnesses[one]) for one in left if one in witnesses]
    rows_found = [{"id": id, "document_id": document_id, "epoch": epoch} for id, document_id, epoch in sorted(found)]
    update_rows(tx, words, rows_found, by=("id",))
    tx.execute(delete(words).where(among(words.c.id, sorted(one.id for one in left if one not in witnesses))))


def epochs(tx: Transaction, generation_id: int, document_ids: Collection[int]) -> dict[int, int]:
    """Return document id -> epoch of the chunk rows behind its points, for indexed documents."""
    which = and_(work.c.generation_id == generation_id, work.c.document_id.in_(sorted(document_ids)))
    query = select(work.c.document_id, work.c.indexed_chunks_epoch).where(which, work.c.goal == "indexed")
    return {row[0]: row[1] for row in tx.execute(query) if row[1] is not None}


def forget(tx: Transaction, generation_id: int) -> bool:
    """Delete up to SWEPT words of a removed generation. Returns whether more may be left.

    They must not stay: SQLite may reuse the generation's id.
    """
    some = select(words.c.id).where(words.c.generation_id == generation_id).limit(SWEPT)
    return tx.execute(delete(words).where(words.c.id.in_(some.scalar_subquery()))).rowcount == SWEPT
