"""Queries whose right answer is known without judgements: a document's title, or a sentence of it.

A search that does not find a passage by its own words will not find it by other words. So such queries can compare
chunk sizes, models and rerankers on any documents. They favor search by words, because they consist of the documents'
words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from semantik_pipeline.documents import SearchHit
from semantik_pipeline.search.evaluation.judged import Judged
from semantik_pipeline.search.evaluation.sampling import Item, drawn, only_unique

if TYPE_CHECKING:
    from semantik_pipeline.ledger.documents.passages import Passage

#: The item that a hit counts as if it contains the query's sentence.
FOUND = "the passage"


@dataclass(frozen=True, kw_only=True)
class KnownItems(Judged):
    """Known items as judged queries; ``items`` are by query id.

    For a title, documents are ranked. For a sentence, passages are ranked, because a document may be long.
    """

    items: dict[str, Item] = field(default_factory=dict)

    @classmethod
    def of(cls, items: Iterable[Item]) -> KnownItems:
        by_id = {item.id: item for item in items}
        return cls(
            items=by_id,
            queries={id: item.text for id, item in by_id.items()},
            qrels={id: {item.document if item.kind == "title" else FOUND: 1} for id, item in by_id.items()},
        )

    @property
    def parts(self) -> dict[str, list[str]]:
        kinds: dict[str, list[str]] = {}
        for query_id in self.judged:
            kinds.setdefault(f"{self.items[query_id].kind}s", []).append(query_id)
        return kinds

    @property
    def verbatim(self) -> bool:
        return True

    def identify(self, query_id: str, hit: SearchHit) -> str:
        item = self.items[query_id]
        if item.kind == "title":
            return hit.document
        return FOUND if item.is_met_by(hit) else f"{hit.document}\n{hit.start}"


def known_items(passages: Callable[[], Iterable[Passage]], *, count: int, seed: int) -> KnownItems:
    """Draw at most ``count`` queries, half of them titles if there are enough. The same texts and seed give the same
    queries.

    ``passages`` returns all passages, document by document. It is called twice: to draw from them, and to check that
    each drawn text is at one place only.
    """
    candidates = only_unique(drawn(passages(), count, seed), passages())
    titles = [item for item in candidates if item.kind == "title"]
    sentences = [item for item in candidates if item.kind == "sentence"]
    so_many = min(len(titles), max(count // 2, count - len(sentences)))
    return KnownItems.of([*titles[:so_many], *sentences[: count - so_many]])
