"""Postprocessors in a search request, and what they add to hits."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from semantik_pipeline.api.models.plain import Name, Options


class PostprocessorSpec(BaseModel):
    """A postprocessor with options for this search."""

    model_config = ConfigDict(extra="forbid")

    plugin: Name
    options: Options = Field(default_factory=dict)


class TextSpan(BaseModel):
    """Characters `start` (inclusive) to `end` (exclusive) of a hit's text."""

    start: int
    end: int


class Highlight(TextSpan):
    """A part of a hit's text that matches a word or phrase of the query."""

    term: str


class ContextPassage(BaseModel):
    """A neighbouring chunk, without text that is already in the hit. Offsets are in characters of the document's
    text."""

    text: str
    start: int
    end: int
    ordinal: int
    section: list[str]
