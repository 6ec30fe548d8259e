"""What postprocessors add to hits, and how they are asked for."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from semantik_pipeline.api.models.plain import Name, Options


class PostprocessorSpec(BaseModel):
    """A postprocessor with options of this question's own."""

    model_config = ConfigDict(extra="forbid")

    plugin: Name
    options: Options = Field(default_factory=dict)


class TextSpan(BaseModel):
    """From character `start` to before `end` of a hit's text."""

    start: int
    end: int


class Highlight(TextSpan):
    """A place in a hit's text that meets a word or a phrase of the query."""

    term: str


class ContextPassage(BaseModel):
    """A chunk beside a hit, or the part of it that the hit does not have; offsets are the document's."""

    text: str
    start: int
    end: int
    ordinal: int
    section: list[str]
