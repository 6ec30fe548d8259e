"""Search requests and responses."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from semantik_pipeline.api.models.explanations import DocumentExplanation, FacetValue, ScoreExplanation
from semantik_pipeline.api.models.hits import ContextPassage, Highlight, PostprocessorSpec, TextSpan
from semantik_pipeline.api.models.plain import Line, Name, Options
from semantik_pipeline.api.models.query_interpretation import QueryInterpretation
from semantik_pipeline.api.scrubbed import ScrubbedText
from semantik_pipeline.questions import SearchQuery
from semantik_pipeline.search.facets import MOST_KEYS, MOST_VALUES
from semantik_pipeline.search.postprocess_choice import MAX_CHAIN as MAX_POSTPROCESSORS
from semantik_pipeline.search.request import MAX_LIMIT, candidates_for
from semantik_pipeline.search.rerank_choice import MAX_CHAIN, read_by
from semantik_pipeline.settings import Fusion

#: Maximum number of collections of one search, and of searches in a batch.
MOST_COLLECTIONS, MOST_SEARCHES = 16, 32

#: Maximum cost of one request: searches times collections, and passages that rerankers score.
MOST_ASKED, MOST_RERANKED = 64, 4000


class SearchRequest(BaseModel):
    """A search in one collection, or in several."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "query": "how do I get a new password?",
                "collection": "default",
                "top_k": 5,
                "filter": {"must": [{"key": "metadata.team", "match": {"value": "it"}}]},
            }
        },
    )

    query: Annotated[str, StringConstraints(min_length=1, max_length=100_000)]
    collection: Name | None = Field(None, description="Collection to search; `default` unless `collections` is given.")
    collections: list[Name] | None = Field(
        None,
        min_length=1,
        max_length=MOST_COLLECTIONS,
        description="Collections to search together; their hits are merged into one list.",
    )
    top_k: int = Field(10, ge=1, le=MAX_LIMIT, description="Maximum number of hits.")
    offset: int = Field(0, ge=0, le=MAX_LIMIT, description="`next_offset` of the previous page.")
    search_mode: Literal["hybrid", "dense", "sparse"] = Field(
        "hybrid", description="Vectors and BM25, vectors only, or BM25 only."
    )
    filter: Options | None = Field(None, description="Qdrant filter (docs/search.md).")
    use_reranker: bool = Field(True, description="Rerank the top hits.")
    reranker_id: Name | Annotated[list[Name], Field(min_length=1, max_length=MAX_CHAIN)] | None = Field(
        None, description="Reranker plugin, or several that run in order; null means the collection's."
    )
    rerank_top_k: int | None = Field(
        None,
        ge=1,
        le=MAX_LIMIT,
        description="Number of hits to rerank; null means 5 x top_k (fewer if the reranker asks for fewer), at least 20"
        " and at most 200.",
    )
    fusion: Fusion | None = Field(
        None, description="How vector and BM25 results are combined; null means the collection's setting."
    )
    dense_weight: float | None = Field(
        None,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Weight of the vector score, 0..1. BM25 gets the rest. null means the collection's setting.",
    )
    rerank_weight: float | None = Field(
        None,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Weight of the reranker's score; null means the collection's setting.",
    )
    score_threshold: float | None = Field(
        None, ge=0, le=1, allow_inf_nan=False, description="Drop hits with a lower score."
    )
    facets: list[Line] = Field(
        [], max_length=MOST_KEYS, description="Fields to count documents by, such as `language`."
    )
    facet_limit: int = Field(10, ge=1, le=MOST_VALUES, description="Maximum number of values per facet.")
    explain: bool = Field(False, description="Explain the score of each hit.")
    explain_document: Line | None = Field(
        None, description="Explain why this document is not among the hits. Give its id, or the end of its path."
    )

    postprocessors: list[Name | PostprocessorSpec] | None = Field(
        None,
        max_length=MAX_POSTPROCESSORS,
        description="Postprocessors of the hits, in order; null means the collection's.",
    )
    interpret: bool = Field(True, description="Interpret quotes, `-word` and `field:value`, and correct typos.")

    @model_validator(mode="after")
    def _one_way(self) -> SearchRequest:
        if self.collection is not None and self.collections is not None:
            raise ValueError("give `collection` or `collections`, not both")
        if self.explain_document is not None and len(self.among) > 1:
            raise ValueError("`explain_document` requires a search in a single collection")
        if self.offset + self.top_k > MAX_LIMIT:
            raise ValueError(f"offset + top_k must not exceed {MAX_LIMIT}: narrow the search with a filter")
        _within([self])
        return self

    @property
    def reads(self) -> int:
        """The maximum number of passages that the first reranker reads in each collection."""
        return (self.rerank_top_k or candidates_for(self.top_k)) if self.use_reranker else 0

    @property
    def reads_in_all(self) -> int:
        """The maximum number of passages that all named rerankers together read in each collection."""
        named = len(self.reranker_id) if isinstance(self.reranker_id, list) else 1
        return sum(read_by(place, self.reads) for place in range(min(named, MAX_CHAIN)))

    def question(self) -> SearchQuery:
        """The query for each collection. If it is changed to return more hits than ``top_k``, the reranker still reads
        only as many candidates as for ``top_k`` hits."""
        asked = SearchQuery.from_body(self.model_dump(exclude={"collection", "collections"}))
        return replace(asked, reranked_for=self.top_k)

    @property
    def among(self) -> list[str]:
        """The collections without repetitions, in the order of the request."""
        return list(dict.fromkeys(self.collections or [self.collection or "default"]))


class HitScores(BaseModel):
    """Scores of a hit at each step: `dense` and `sparse` as returned by the store, `fused` (0..1), and `rerank` of the
    reranker."""

    dense: float | None
    sparse: float | None
    fused: float | None
    rerank: float | None


class SearchHit(BaseModel):
    """A chunk that matches the query."""

    rank: int = Field(description="Rank over all pages, from 1.")
    collection: str
    document: str = Field(description="Document id.")
    title: str | None
    text: str
    start: int = Field(description="Offset in characters of the document's text.")
    end: int
    score: float = Field(
        description="0..1, higher is better. Comparable within one response among collections that are ranked together."
    )
    rerank_score: float | None = Field(description="Score of the reranker; null if the hit was not reranked.")
    scores: HitScores
    metadata: dict[str, Any] = Field(
        description="Metadata from the source and from the pipeline, such as page, section, language and entities."
    )
    explanation: ScoreExplanation | None = Field(None, description="How the hit got its score, with `explain`.")
    highlights: list[Highlight] = Field([], description="Parts of the text that match the query.")
    passage: TextSpan | None = Field(None, description="The part of the text that matches best.")
    grouped_hits: list[SearchHit] = Field(
        [], description="With the postprocessor `group`: other hits of the same document, ranked within it."
    )
    context_before: list[ContextPassage] = Field(
        [], description="With the postprocessor `neighbours`: preceding text of the document."
    )
    context_after: list[ContextPassage] = Field(
        [], description="With the postprocessor `neighbours`: following text of the document."
    )
    duplicates: list[str] = Field([], description="With the postprocessor `dedupe`: near-duplicate documents.")


class RerankerReport(BaseModel):
    """What a reranker did with the hits of a collection."""

    collection: str
    id: str
    scored: int = Field(description="Number of candidates that it scored.")
    candidates: int = Field(description="Number of candidates that it was given.")
    duration_ms: float
    reason: ScrubbedText | None = Field(description="Why it did not score all candidates; null if it did.")


class SearchResponse(BaseModel):
    """Hits, best first."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "hits": [
                    {
                        "rank": 1,
                        "collection": "default",
                        "document": "faq/17",
                        "title": "Forgotten passwords",
                        "text": "Passwords are reset at the help desk, room 12.",
                        "start": 0,
                        "end": 46,
                        "score": 0.97,
                        "rerank_score": 0.81,
                        "scores": {"dense": 0.71, "sparse": 6.2, "fused": 1.0, "rerank": 0.81},
                        "metadata": {"team": "it"},
                    }
                ],
                "next_offset": None,
                "reranked": True,
                "rerankers": [
                    {
                        "collection": "default",
                        "id": "relevance-feedback",
                        "scored": 25,
                        "candidates": 25,
                        "duration_ms": 1.9,
                        "reason": None,
                    }
                ],
                "timings_ms": {"embed": 9.1, "retrieve": 6.9, "rerank": 2.1, "total": 19.2},
                "warnings": [],
            }
        }
    )

    hits: list[SearchHit]
    next_offset: int | None = Field(description="`offset` of the next page; null if this is the last one.")
    reranked: bool = Field(description="Whether any hit was reranked.")
    rerankers: list[RerankerReport] = Field(description="What each reranker did, in the order in which they ran.")
    timings_ms: dict[str, float] = Field(
        description="Milliseconds by step; with several collections, the longest time of each step."
    )
    warnings: list[ScrubbedText]
    facets: dict[str, list[FacetValue]] = Field(
        {}, description="The most frequent values of each requested field in matching documents."
    )
    document_explanation: DocumentExplanation | None = Field(
        None, description="Why the document of `explain_document` is not among the hits."
    )
    interpretation: QueryInterpretation | None = Field(
        None,
        description="How the query was interpreted; null if `interpret` is false. Includes the corrections for all"
        " collections.",
    )


class BatchSearchRequest(BaseModel):
    """Several searches."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"searches": [{"query": "passwords"}, {"query": "travel"}]}}
    )

    searches: list[SearchRequest] = Field(min_length=1, max_length=MOST_SEARCHES)

    @model_validator(mode="after")
    def _bounded(self) -> BatchSearchRequest:
        _within(self.searches)
        return self


class BatchSearchResponse(BaseModel):
    """The responses, in the order of the searches."""

    results: list[SearchResponse]


def _within(searches: list[SearchRequest]) -> None:
    """Raise ValueError if the searches together cost more than one request may."""
    asked = sum(len(one.among) for one in searches)
    if asked > MOST_ASKED:
        raise ValueError(f"the request has {asked} searches (searches times collections); the maximum is {MOST_ASKED}")
    read = sum(one.reads_in_all * len(one.among) for one in searches)
    if read > MOST_RERANKED:
        raise ValueError(
            f"the rerankers would read {read} passages; the maximum is {MOST_RERANKED}: lower `rerank_top_k`"
        )
