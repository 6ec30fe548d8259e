"""Documents by patterns of their paths."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import ColumnElement, not_, or_, select

from semantik_pipeline.ledger.access.document_access import open_to
from semantik_pipeline.ledger.database.connection import Transaction
from semantik_pipeline.ledger.tables import documents, generations, sources

_ESCAPE = "!"


def documents_at(
    tx: Transaction,
    generation_id: int,
    patterns: Collection[str],
    *,
    principals: Collection[str] | None = None,
    limit: int,
) -> tuple[list[int], bool]:
    """Ids of the documents of the generation's collection whose path meets one of the patterns, and False; where these are
    more than ``limit``, those of all that meet none, and True. Raises ValueError if both are more. Of documents that are
    not open to these principals (None: all are) there is nothing, and none counts.

    In a pattern ``*`` is anything, ``?`` one character; case doesn't matter. It is met from the beginning of any folder's
    or file's name on, and by all that lies in a folder that it names: ``docs``, ``docs/`` and ``docs/*`` are the same.
    """
    mine = select(generations.c.collection_id).where(generations.c.id == generation_id).scalar_subquery()
    living = select(documents.c.id).where(documents.c.collection_id == mine, documents.c.deleted_at.is_(None))
    if principals is not None:
        living = living.join(sources, documents.c.source_id == sources.c.id).where(open_to(tx, principals))
    met = or_(*(one for pattern in patterns for one in _conditions(pattern)))
    for negated, which in ((False, met), (True, or_(documents.c.file_path.is_(None), not_(met)))):
        ids = list(tx.execute(living.where(which).order_by(documents.c.id).limit(limit + 1)).scalars())
        if len(ids) <= limit:
            return ids, negated
    raise ValueError(f"more than {limit} documents on either side")


def _conditions(pattern: str) -> list[ColumnElement[bool]]:
    like = "".join(
        {"*": "%", "?": "_"}.get(one, one if one.isalnum() else _ESCAPE + one) for one in pattern.rstrip("/")
    )
    like = like.replace(f"{_ESCAPE}/", "/")
    whole = [like, f"{like}/%"]
    if not pattern.startswith(("/", "*")):
        whole += [f"%/{one}" for one in whole]
    return [documents.c.file_path.ilike(one, escape=_ESCAPE) for one in whole]
