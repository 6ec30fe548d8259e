"""Documents by patterns of their paths."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import ColumnElement, Text, and_, literal, not_, or_, select

from semantik_pipeline.ledger.access.document_access import open_to
from semantik_pipeline.ledger.database.connection import Transaction, lowered
from semantik_pipeline.ledger.tables import documents, generations, sources

_ESCAPE = "!"
#: How characters of a pattern are written for the database.
_WRITTEN = {"*": "%", "?": "_", **{one: _ESCAPE + one for one in ("%", "_", _ESCAPE)}}


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
    like = "".join(_WRITTEN.get(one, one) for one in pattern.rstrip("/"))
    whole = [like, f"{like}/%"]
    if not pattern.startswith(("/", "*")):
        whole += [f"%/{one}" for one in whole]
    return [_like(one) for one in whole]


def _like(pattern: str) -> ColumnElement[bool]:
    """The path is like this in any case. SQLite knows ASCII's cases by itself; a path with room for a pattern's other
    letters, and with the rest of it, is put into lower case, which takes ten times as long."""
    path = documents.c.file_path
    room = "".join("_" if one > "\x7f" and one.lower() != one.upper() else one for one in pattern)
    fits = path.ilike(room, escape=_ESCAPE)
    if room == pattern:
        return fits
    return and_(fits, lowered(path).like(lowered(literal(pattern, Text())), escape=_ESCAPE))
