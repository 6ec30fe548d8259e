"""Finding documents by path patterns."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import ColumnElement, Text, and_, literal, not_, or_, select

from semantik_pipeline.ledger.access.document_access import open_to
from semantik_pipeline.ledger.database.connection import Transaction, lowered
from semantik_pipeline.ledger.tables import documents, generations, sources

_ESCAPE = "!"
#: Translation of a pattern's characters to those of SQL LIKE.
_WRITTEN = {"*": "%", "?": "_", **{one: _ESCAPE + one for one in ("%", "_", _ESCAPE)}}


def documents_at(
    tx: Transaction,
    generation_id: int,
    patterns: Collection[str],
    *,
    principals: Collection[str] | None = None,
    limit: int,
) -> tuple[list[int], bool]:
    """Return (ids of documents whose path matches one of the patterns, False), of the generation's collection.

    If more than ``limit`` match, return (ids of the documents that match none, True) instead. Raises ValueError if
    there are too many of both. Documents that are not open to these principals (None: all are) are ignored.

    In a pattern, ``*`` matches any characters (also ``/``) and ``?`` matches one; case is ignored. A pattern can match
    from the start of any folder or file name in the path; one that starts with ``/`` only from the start of the path.
    A pattern that matches a folder matches everything inside: ``docs``, ``docs/`` and ``docs/*`` are the same.
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
    """Return the condition that the path matches a LIKE pattern, ignoring case.

    SQLite's own comparison ignores the case of ASCII letters only, and lowering a path takes ten times as long. So the
    path is first compared with a pattern in which other letters are replaced by wildcards, and lowered if it matches.
    """
    path = documents.c.file_path
    room = "".join("_" if one > "\x7f" and one.lower() != one.upper() else one for one in pattern)
    fits = path.ilike(room, escape=_ESCAPE)
    if room == pattern:
        return fits
    return and_(fits, lowered(path).like(lowered(literal(pattern, Text())), escape=_ESCAPE))
