"""What a search tells beside its hits, if it is asked: counts of values, how a hit got its score, why one is not there."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from semantik_pipeline.api.scrubbed import ScrubbedObject, ScrubbedText


class FacetValue(BaseModel):
    """A value of a field, and how many of the documents that the query matches have it."""

    value: str | int | float | bool
    count: int


class LegExplanation(BaseModel):
    """What a leg said of a hit; null: it missed it."""

    rank: int | None
    score: float | None
    normalised: float = Field(description="0..1; fusion adds up weight x normalised.")
    weight: float


class FusionExplanation(BaseModel):
    """What came of the legs."""

    method: str
    rank: int
    score: float


class RerankerExplanation(BaseModel):
    """What a reranker said of a hit, and what came of it."""

    plugin: str
    score: float | None = Field(description="Its own; null: it did not read this one.")
    share: float = Field(description="0..1, what its score counts as.")
    weight: float
    rank: int = Field(description="After it.")
    blended: float = Field(description="The score after it: weight x share + (1 - weight) x the score before.")


class PostprocessorExplanation(BaseModel):
    """Where a postprocessor moved a hit from and to; null: it brought it in."""

    plugin: str
    before: int | None
    after: int


class ScoreContribution(BaseModel):
    """What a leg, a reranker or a postprocessor adds to a hit's score."""

    of: str
    adds: float


class ScoreExplanation(BaseModel):
    """How a hit got its score. The parts add up to it."""

    legs: dict[str, LegExplanation]
    fused: FusionExplanation
    rerankers: list[RerankerExplanation]
    postprocessors: list[PostprocessorExplanation]
    parts: list[ScoreContribution]


class DocumentExplanation(BaseModel):
    """Why a document is not among the hits."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "document": "faq/17",
                "cause": "filter",
                "told": 'It does not meet the filter: {"key": "language", "match": {"value": "de"}}.',
                "details": {"conditions": [{"key": "language", "match": {"value": "de"}}]},
            }
        }
    )

    document: str = Field(description="Its unique id; of one that there is not, what was asked for.")
    cause: str = Field(description="not-found, deleted, quarantined, filter ... (docs/search.md); shown: it is there.")
    told: ScrubbedText = Field(description="The same in a sentence.")
    details: ScrubbedObject = Field(description="Its ranks and scores, the conditions that it does not meet ...")
