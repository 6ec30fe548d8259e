"""Search: query → candidates → fusion → rerank → hits. ``search`` is the entry point."""

from semantik_pipeline.questions import SearchQuery
from semantik_pipeline.search.answer import SearchAnswer
from semantik_pipeline.search.query import check_search, search
from semantik_pipeline.search.several import HitOf, SeveralAnswers, merged, search_several

__all__ = [
    "HitOf",
    "SearchAnswer",
    "SearchQuery",
    "SeveralAnswers",
    "check_search",
    "merged",
    "search",
    "search_several",
]
