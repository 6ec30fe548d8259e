"""The chunks that search can find, read from the ledger without the vector store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, select

from semantik_pipeline.ledger.tables import chunks, documents, work

#: Documents read in one transaction.
DOCUMENTS = 100


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A chunk of an indexed document. ``document``: unique id. ``start``: offset of the text in the document."""

    document: str
    title: str | None
    path: str | None
    text: str
    start: int


def passages(ledger: Any, generation_id: int) -> Iterator[Passage]:
    """Yield the passages of a generation's live documents, document by document, in order. Uses short transactions."""
    after = 0
    columns = (documents.c.unique_id, documents.c.title, documents.c.file_path, chunks.c.text, chunks.c.start)
    mine = and_(
        chunks.c.generation_id == work.c.generation_id,
        chunks.c.document_id == work.c.document_id,
        chunks.c.epoch == work.c.indexed_chunks_epoch,
    )
    shown = and_(work.c.generation_id == generation_id, work.c.goal == "indexed", documents.c.deleted_at.is_(None))
    live = select(documents.c.id).join(work, work.c.document_id == documents.c.id).where(shown).order_by(documents.c.id)
    while True:
        with ledger.read() as tx:
            ids = tx.execute(live.where(documents.c.id > after).limit(DOCUMENTS)).scalars().all()
            if not ids:
                return
            after = ids[-1]
            query = (
                select(*columns)
                .select_from(work)
                .join(documents, work.c.document_id == documents.c.id)
                .join(chunks, mine)
                .where(shown, documents.c.id.in_(ids))
                .order_by(chunks.c.document_id, chunks.c.ordinal)
            )
            rows = tx.execute(query).all()
        yield from (Passage(document=a, title=b, path=c, text=d, start=e) for a, b, c, d, e in rows)
