"""The ledger: what exists, at which stage it is, and who holds it. Values in, values out.

``Ledger`` opens transactions. Each package has the queries of one area; ``tables`` has the tables.
docs/architecture.md lists the packages in layers: imports go down only.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from typing import Any

from semantik_pipeline.ledger.catalog import collections
from semantik_pipeline.ledger.database import schema
from semantik_pipeline.ledger.database.connection import Transaction, open_engine, transaction, translating
from semantik_pipeline.ledger.documents import paths, words
from semantik_pipeline.ledger.documents.whereabouts import Whereabouts
from semantik_pipeline.ledger.documents.whereabouts import find as find_whereabouts
from semantik_pipeline.ledger.generations import comparison

__all__ = ["Ledger", "Transaction"]


class Ledger:
    """The ledger at a database URL. Creates the schema in a new SQLite file.

    Raises SchemaMismatch, naming the command that fixes it, if the schema is not the one that this program needs
    (``check=False`` skips this check).
    """

    def __init__(self, url: str, *, check: bool = True) -> None:
        self.engine = open_engine(url)
        with translating(self.engine):
            if url.startswith("sqlite") and schema.current(self.engine) is None:
                schema.migrate(self.engine)
            if check:
                schema.check(self.engine)

    def read(self) -> AbstractContextManager[Transaction]:
        """Open a short transaction that only reads."""
        return transaction(self.engine, writes=False)

    def snapshot(self) -> AbstractContextManager[Transaction]:
        """Like :meth:`read`, but all statements see the same state of the database on PostgreSQL, too."""
        return transaction(self.engine, writes=False, snapshot=True)

    def write(self) -> AbstractContextManager[Transaction]:
        """Open a short transaction that writes. On SQLite it holds the write lock from its start."""
        return transaction(self.engine, writes=True)

    def ask(self) -> AbstractContextManager[Transaction]:
        """Open a connection for a single read statement: on SQLite without BEGIN and COMMIT."""
        return transaction(self.engine, writes=False, alone=True)

    def search_view(self, collection: str) -> collections.SearchView:
        return collections.search_view(self.engine, collection)

    def visible(
        self, generation_id: int, document_ids: Collection[int], principals: Collection[str] | None = None
    ) -> dict[int, int]:
        if principals is None:
            return collections.visible_to_all(self.engine, generation_id, document_ids)
        with self.ask() as tx:
            return collections.visible(tx, generation_id, document_ids, principals)

    def whereabouts(
        self, collection: str, generation_id: int, name: str, principals: Collection[str] | None
    ) -> Whereabouts | None:
        with self.read() as tx:
            return find_whereabouts(tx, collection, generation_id, name, principals)

    def known_words(self, generation_id: int, asked: Collection[str]) -> set[str]:
        return words.known(self.engine, generation_id, asked)

    def resembling_words(self, generation_id: int, word: str, **like: Any) -> list[tuple[str, int]]:
        with self.ask() as tx:
            return words.resembling(tx, generation_id, word, **like)

    def documents_at(
        self, generation_id: int, patterns: Collection[str], *, principals: Collection[str] | None, limit: int
    ) -> tuple[list[int], bool]:
        with self.read() as tx:
            return paths.documents_at(tx, generation_id, patterns, principals=principals, limit=limit)

    def points_at_rest(self, generation_id: int) -> int:
        """Return the least number of points that the generation's index must hold."""
        with self.read() as tx:
            return comparison.points_at_rest(tx, generation_id)

    def close(self) -> None:
        self.engine.dispose()
