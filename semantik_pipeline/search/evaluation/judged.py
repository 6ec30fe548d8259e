"""Queries with judgements or known answers, as every evaluation uses them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Self

from semantik_pipeline.documents import SearchHit, short_hash
from semantik_pipeline.questions import SearchQuery


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Queries and their judgements. ``queries`` maps query ids to texts. ``qrels`` maps query ids to grades by item,
    which :meth:`identify` returns for a hit; grades above 0 mean relevant."""

    queries: dict[str, str] = field(default_factory=dict)
    qrels: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def judged(self) -> list[str]:
        """The ids of the queries that have judgements, in the order of the file. Only these are asked."""
        return [query_id for query_id in self.queries if query_id in self.qrels]

    @property
    def fingerprint(self) -> str:
        """A hash (32 hex digits) of the judged queries and their judgements, independent of their order."""
        asked: list[Any] = [[id, self.queries[id], sorted(self.qrels[id].items())] for id in sorted(self.judged)]
        return short_hash(json.dumps(asked, ensure_ascii=False))

    @property
    def parts(self) -> dict[str, list[str]]:
        """The ids of the judged queries by kind, for kinds that are reported separately. Empty here."""
        return {}

    @property
    def verbatim(self) -> bool:
        """Whether the queries consist of words of the documents that they should find, and so favor search by words.

        Such queries are not interpreted: a quote, a ``-word`` or a ``field:value`` in them is not query syntax.
        """
        return False

    def question(self, query_id: str, template: SearchQuery) -> SearchQuery:
        """Return one of the queries with the parameters of the template."""
        return replace(template, text=self.queries[query_id], interpret=self.interprets(template))

    def interprets(self, template: SearchQuery) -> bool:
        """Return whether a search with the template interprets these queries."""
        return template.interpret and not self.verbatim

    def identify(self, query_id: str, hit: SearchHit) -> str:
        """Return the item in ``qrels`` that a hit counts as: here, its document. Each item is ranked once."""
        return hit.document

    def only(self, query_ids: Iterable[str]) -> Self:
        """Return the same judgements, limited to some of the queries."""
        wanted = set(query_ids)
        return replace(self, queries={id: text for id, text in self.queries.items() if id in wanted})
