"""Facets, and explanations of a search: how each hit got its score, and why a document is not among the hits."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from semantik_pipeline.api.scrubbed import ScrubbedObject, ScrubbedText


class FacetValue(BaseModel):
    """A value of a field, and the number of matching documents that have it."""

    value: str | int | float | bool
    count: int


class LegExplanation(BaseModel):
    """Rank and score of a hit in one leg of the search (dense or sparse); null if the leg did not find it."""

    rank: int | None
    score: float | None
    normalised: float = Field(description="The score mapped to 0..1.")
    weight: float = Field(description="Weight of the leg: fusion adds up weight x normalised.")


class FusionExplanation(BaseModel):
    """Rank and score of a hit after the legs were combined."""

    method: str
    rank: int
    score: float


class RerankerExplanation(BaseModel):
    """What a reranker did to a hit."""

    plugin: str
    score: float | None = Field(description="The reranker's own score; null if it did not score this hit.")
    normalised: float = Field(description="The score mapped to 0..1.")
    weight: float
    rank: int = Field(description="Rank after this reranker.")
    blended: float = Field(
        description="Score after this reranker: weight x normalised + (1 - weight) x the score before."
    )


class PostprocessorExplanation(BaseModel):
    """A postprocessor that moved a hit or changed its score."""

    plugin: str
    rank_before: int | None = Field(description="null if the postprocessor added this hit.")
    rank_after: int


class ScoreContribution(BaseModel):
    """What a leg, a reranker or a postprocessor contributes to the score of a hit."""

    component: str = Field(examples=["dense"], description="A leg, or the id of a reranker or postprocessor.")
    value: float


class ScoreExplanation(BaseModel):
    """How a hit got its score. The contributions add up to it."""

    legs: dict[str, LegExplanation]
    fused: FusionExplanation
    rerankers: list[RerankerExplanation]
    postprocessors: list[PostprocessorExplanation]
    contributions: list[ScoreContribution]


class DocumentExplanation(BaseModel):
    """Why a document is not among the hits."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "document": "faq/17",
                "cause": "filter",
                "message": 'It does not meet the filter: {"key": "language", "match": {"value": "de"}}.',
                "details": {"conditions": [{"key": "language", "match": {"value": "de"}}]},
            }
        }
    )

    document: str = Field(description="Document id, or the name in the request if there is no such document.")
    cause: str = Field(
        description="not-found, deleted, quarantined, filter and others (docs/search.md); `shown` means that it is"
        " among the hits."
    )
    message: ScrubbedText = Field(description="The cause in a sentence.")
    details: ScrubbedObject = Field(
        description="Details that depend on the cause, such as ranks, scores, or the conditions that it does not meet."
    )
