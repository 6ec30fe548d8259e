"""Search: query → candidates → fusion → rerank → hits. ``search`` is the one entry."""

from semantik_pipeline.search.answer import SearchAnswer
from semantik_pipeline.search.query import search
from semantik_pipeline.search.request import SearchQuery

__all__ = ["SearchAnswer", "SearchQuery", "search"]
