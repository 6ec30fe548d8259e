"""Work that the end of a source's run takes over, a page at a time.

This work is units that earlier operations left unfinished, and documents on which an extractor failed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy import ColumnElement, and_, exists, func, or_, select

from semantik_pipeline.ledger.database.bulk import update_rows
from semantik_pipeline.ledger.database.connection import Transaction, now
from semantik_pipeline.ledger.ingestion.sync import SourceClaim
from semantik_pipeline.ledger.operations import holds
from semantik_pipeline.ledger.operations.lifecycle import note_items
from semantik_pipeline.ledger.queue import fair_queue
from semantik_pipeline.ledger.queue.work import ASKED, REBUILD_LANE, STAGES
from semantik_pipeline.ledger.tables import operation_items, work

#: Documents per page.
PAGE = 1000


@dataclass(frozen=True, kw_only=True)
class Page:
    """A position: documents with ids above ``after`` are next. The turns of freed units are raised by ``behind`` (see
    ``operations/holds.py``)."""

    after: int = 0
    behind: float


def first_page(tx: Transaction, claim: SourceClaim) -> Page:
    return Page(behind=holds.source_lag(tx, claim.source_id))


def adopt(tx: Transaction, claim: SourceClaim, page: Page) -> Page | None:
    """Make this operation own a page of units that earlier operations left unfinished; returns the next page, or None.

    Units that cancelled operations hold are freed, and, if somebody requested this sync, also those of paused ones.
    Units of a build beside the active generation are left out, since they belong to the build's operation.
    """
    on_their_way = and_(work.c.source_id == claim.source_id, work.c.stage.in_(STAGES), work.c.lane < REBUILD_LANE)
    mine = exists().where(
        operation_items.c.operation_id == claim.operation_id,
        operation_items.c.document_id == work.c.document_id,
        operation_items.c.revision == work.c.revision,
    )
    others = and_(on_their_way, work.c.document_id > page.after, or_(~mine, work.c.held_by.is_not(None)))
    query = select(work.c.document_id, func.max(work.c.revision)).where(others).group_by(work.c.document_id)
    rows = tx.execute(query.order_by(work.c.document_id).limit(PAGE)).all()
    ids = [document_id for document_id, _ in rows]
    holds.take_up(tx, claim.source_id, asked=claim.lane <= ASKED, document_ids=ids, behind=page.behind)
    note_items(tx, claim.operation_id, [(document_id, "resumed", revision) for document_id, revision in rows])
    return replace(page, after=ids[-1]) if len(ids) == PAGE else None


def is_noted(tx: Transaction, claim: SourceClaim, *, older_than: float) -> bool:
    """Whether there is a unit for :func:`retry_noted`; takes no lock."""
    return tx.execute(select(work.c.document_id).where(_noted(claim, older_than)).limit(1)).first() is not None


def _noted(claim: SourceClaim, older_than: float) -> ColumnElement[bool]:
    mine = and_(work.c.source_id == claim.source_id, work.c.stage == "indexed", work.c.notes.is_not(None))
    return and_(mine, work.c.updated_at < now() - older_than)


def retry_noted(tx: Transaction, claim: SourceClaim, *, older_than: float) -> int:
    """Send up to PAGE indexed units on which an extractor failed, ``older_than`` seconds ago or earlier, through
    ``extract`` again; returns how many."""
    key = ("document_id", "generation_id")
    in_order = select(*(work.c[name] for name in key), work.c.revision).where(_noted(claim, older_than))
    page = in_order.order_by(*(work.c[name] for name in key)).limit(PAGE)
    rows = tx.execute(page.with_for_update()).all()
    places = fair_queue.take(tx, claim.source_id, len(rows))  # with their old turns they would go before all others
    moved = [{**dict(zip(key, row[:2], strict=True)), "turn": turn} for row, turn in zip(rows, places, strict=True)]
    changes = {"stage": "extract", "progress": {"rewrite": True}, "embedded": 0}
    update_rows(tx, work, moved, by=key, fixed=changes, stamped=["updated_at"])
    note_items(tx, claim.operation_id, [(row.document_id, "retried", row.revision) for row in rows])
    return len(rows)
