"""Queries that somebody judged, or whose right answer is known: what every evaluation asks."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Self

from semantik_pipeline.documents import SearchHit, short_hash
from semantik_pipeline.questions import SearchQuery


@dataclass(frozen=True, kw_only=True)
class Judged:
    """``queries`` maps query ids to texts, ``qrels`` query ids to grades by what is found (above 0: relevant)."""

    queries: dict[str, str] = field(default_factory=dict)
    qrels: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def judged(self) -> list[str]:
        """Ids of the queries that have judgements, in the order of the file: the ones that count."""
        return [query_id for query_id in self.queries if query_id in self.qrels]

    @property
    def fingerprint(self) -> str:
        """32 hex digits of the queries that count and their judgements; the order in which they came means nothing."""
        asked: list[Any] = [[id, self.queries[id], sorted(self.qrels[id].items())] for id in sorted(self.judged)]
        return short_hash(json.dumps(asked, ensure_ascii=False))

    @property
    def parts(self) -> dict[str, list[str]]:
        """Kinds of queries that are worth a figure of their own, with the ids of those that count; none here."""
        return {}

    @property
    def verbatim(self) -> bool:
        """Whether queries are made of the very words of what is to be found, so that they favour the search by words. They
        are asked as they stand: nobody meant a quote, a ``-word`` or a ``field:value`` in them to say what is looked for."""
        return False

    def question(self, query_id: str, template: SearchQuery) -> SearchQuery:
        """One of the queries, asked as the template says."""
        return replace(template, text=self.queries[query_id], interpret=self.interprets(template))

    def interprets(self, template: SearchQuery) -> bool:
        """Whether a search like the template reads more than words in these queries."""
        return template.interpret and not self.verbatim

    def identify(self, query_id: str, hit: SearchHit) -> str:
        """What a hit counts as in ``qrels``: here, its document. Of hits that count as the same only the best one does."""
        return hit.document

    def only(self, query_ids: Iterable[str]) -> Self:
        """The same with some of the queries."""
        wanted = set(query_ids)
        return replace(self, queries={id: text for id, text in self.queries.items() if id in wanted})
