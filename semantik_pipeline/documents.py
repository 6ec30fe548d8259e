"""The values that flow through the pipeline. Frozen; change a value with ``dataclasses.replace``.

Plugin authors may pass the fields of the values they build by position. Offsets count characters of the parsed text,
and end offsets are exclusive. Vectors are float32 arrays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from semantik_pipeline.errors import PermanentError
from semantik_pipeline.hits import Highlight as Highlight  # re-exported: all values are imported from this module
from semantik_pipeline.hits import Passage as Passage
from semantik_pipeline.hits import SearchHit as SearchHit
from semantik_pipeline.hits import Span as Span

if TYPE_CHECKING:
    import numpy as np


# -- connectors ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class IngestedDocument:
    """A document as its source has it.

    ``content_hash`` is the SHA-256 of the content (text as UTF-8), 64 lowercase hex digits; :meth:`check` verifies it.
    ``unique_id`` identifies the document within its source and never changes. ``principals`` may read the document
    (None: everybody who may read the source; empty: only callers with access to all documents).
    """

    content: str | bytes
    unique_id: str
    source_type: str
    metadata: dict[str, Any]
    content_hash: str
    file_path: str | None = None
    media_type: str | None = None
    principals: list[str] | None = None

    @property
    def body(self) -> bytes:
        """The content as bytes (text is encoded as UTF-8)."""
        return self.content if isinstance(self.content, bytes) else self.content.encode("utf-8", "surrogatepass")

    def check(self) -> IngestedDocument:
        """Return self if the hash matches the content and the principals are valid; otherwise raise PermanentError."""
        actual = content_hash(self.content)
        if self.content_hash != actual:
            raise PermanentError(
                f"The connector gives content_hash {self.content_hash!r} for {self.unique_id!r}, but the content's "
                f"SHA-256 is {actual}.",
                "Use semantik_pipeline.plugins.content_hash(content) in the connector.",
            )
        names = self.principals
        if names is not None and (isinstance(names, str) or not all(isinstance(one, str) and one for one in names)):
            raise PermanentError(
                f"The connector gives principals {names!r} for {self.unique_id!r}, which are not valid names.",
                "Give a list of names that are not empty, or None for everybody.",
            )
        return self


def content_hash(content: str | bytes) -> str:
    """Return the SHA-256 of the content (text as UTF-8), 64 lowercase hex digits."""
    body = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    return hashlib.sha256(body).hexdigest()


def short_hash(*parts: str) -> str:
    """Return 32 hex digits of BLAKE2b over the parts, each with its length: ("ab", "c") and ("a", "bc") differ."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        body = part.encode("utf-8", "surrogatepass")
        digest.update(len(body).to_bytes(8, "big"))
        digest.update(body)
    return digest.hexdigest()


@dataclass(frozen=True)
class DocumentReference:
    """A document that a connector lists without its content. A known ``change_hint`` means it is unchanged."""

    unique_id: str
    change_hint: str | None = None
    size: int | None = None
    media_type: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Removal:
    """The source reports that this document is gone."""

    unique_id: str


@dataclass(frozen=True)
class Checkpoint:
    """A point from which an enumeration can be resumed; ``cursor`` is any JSON value."""

    cursor: Any


@dataclass(frozen=True)
class Complete:
    """The end of an enumeration. Only ``full=True`` proves that documents it did not list are gone.

    ``cursor``, any JSON value, is where the next enumeration starts; None: it lists everything again.
    """

    full: bool
    cursor: Any = None


# -- parsing and chunking --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Element:
    """A structural element of a parsed text: ``kind`` (heading, paragraph, list-item, table, code, page ...),
    its offsets, its 1-based page, and the headings above it, outermost first."""

    kind: str
    start: int
    end: int
    page: int | None = None
    section: tuple[str, ...] = ()


@dataclass(frozen=True)
class ParsedDocument:
    """A document's text and its structure. Elements are in order of start and lie within the text."""

    text: str
    elements: list[Element] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    title: str | None = None


@dataclass(frozen=True)
class Chunk:
    """A piece of a document: ``text == parsed.text[start:end]``; ``token_count`` by the embedding model's tokenizer."""

    text: str
    start: int
    end: int
    ordinal: int
    token_count: int
    metadata: dict[str, Any] = field(default_factory=dict)


# -- extraction ------------------------------------------------------------------------------------------------------


class ExtractionType(StrEnum):
    ENTITIES = "entities"
    TOPICS = "topics"
    LANGUAGE = "language"
    SENTIMENT = "sentiment"
    KEYWORDS = "keywords"
    SUMMARY = "summary"
    CUSTOM = "custom"


@dataclass(frozen=True)
class Entity:
    """An entity: ``type`` in upper case (PERSON, EMAIL, DATE ...), offsets in the extracted text, confidence 0..1."""

    text: str
    type: str
    start: int
    end: int
    confidence: float = 1.0
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ExtractionResult:
    """The results of extractors for one text."""

    entities: list[Entity] = field(default_factory=list)
    topics: list[str] = field(default_factory=list)
    language: str | None = None
    language_confidence: float | None = None
    sentiment: str | None = None
    keywords: list[str] = field(default_factory=list)
    summary: str | None = None
    custom: dict[str, Any] = field(default_factory=dict)

    def merge(self, other: ExtractionResult) -> ExtractionResult:
        """Merge both results: lists without repeats; the language with the higher confidence; otherwise self first."""
        theirs = other.language is not None and (
            self.language is None or (other.language_confidence or 0) > (self.language_confidence or 0)
        )
        surer = other if theirs else self
        seen = {(e.text, e.type, e.start, e.end) for e in self.entities}
        return ExtractionResult(
            entities=[*self.entities, *(e for e in other.entities if (e.text, e.type, e.start, e.end) not in seen)],
            topics=list(dict.fromkeys([*self.topics, *other.topics])),
            language=surer.language,
            language_confidence=surer.language_confidence,
            sentiment=self.sentiment if self.sentiment is not None else other.sentiment,
            keywords=list(dict.fromkeys([*self.keywords, *other.keywords])),
            summary=self.summary if self.summary is not None else other.summary,
            custom={**other.custom, **self.custom},
        )

    def to_searchable_dict(self) -> dict[str, Any]:
        """Return the fields that filters can use; empty ones are left out.

        ``{"entities": {"PERSON": ["Ada"]}, "entity_types": ["PERSON"], "language": "en", "keywords": [...], ...}``
        """
        entities: dict[str, list[str]] = {}
        for entity in self.entities:
            texts = entities.setdefault(entity.type, [])
            if entity.text not in texts:
                texts.append(entity.text)
        found: dict[str, Any] = {
            "entities": entities,
            "entity_types": sorted(entities),
            "topics": list(self.topics),
            "language": self.language,
            "sentiment": self.sentiment,
            "keywords": list(self.keywords),
            "summary": self.summary,
            "custom": dict(self.custom),
        }
        return {name: value for name, value in found.items() if value}


# -- the store -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SparseVector:
    """Weights of terms; absent terms have weight 0. ``indices`` are distinct, ``values`` are in the same order."""

    indices: list[int]
    values: list[float]


@dataclass(frozen=True, kw_only=True)
class IndexSpec:
    """The properties of an index.

    ``payload_indexes`` maps a payload path to ``keyword | integer | float | bool | datetime | text``. ``bm25`` has the
    options of the BM25 leg (k1, b, avg_len, language, by_document, fold_accents); None: no BM25 leg. With
    ``sparse_vectors``, points have a model's sparse vectors instead, compared by their unmodified dot products.
    """

    dimension: int
    distance: str = "cosine"
    bm25: dict[str, Any] | None = field(default_factory=dict)
    payload_indexes: dict[str, str] = field(default_factory=dict)
    sparse_vectors: bool = False


@dataclass(frozen=True, kw_only=True)
class Point:
    """One chunk in the store. ``id`` is a UUID string. ``sparse_text`` is the text that the BM25 leg indexes, and
    ``language`` the ISO 639-1 code of its language (None: unknown). ``sparse`` is a model's sparse vector, for an index
    with sparse vectors."""

    id: str
    vector: np.ndarray
    sparse_text: str
    payload: dict[str, Any]
    language: str | None = None
    sparse: SparseVector | None = None


@dataclass(frozen=True, kw_only=True)
class SearchRequest:
    """One leg of a query: give ``vector`` (dense leg), ``text`` (BM25 leg) or ``sparse`` (index with sparse vectors).
    ``filter`` is Qdrant's filter JSON.

    ``languages`` (ISO 639-1 codes) are the languages in the index, for a store that stems each point in its own
    language: a query is too short to detect its language.
    """

    vector: np.ndarray | None = None
    text: str | None = None
    filter: dict[str, Any] | None = None
    limit: int = 10
    with_payload: bool = True
    languages: tuple[str, ...] = ()
    sparse: SparseVector | None = None


@dataclass(frozen=True, kw_only=True)
class ScoredPoint:
    id: str
    score: float
    payload: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Leg(Sequence[ScoredPoint]):
    """Points without payloads, best first. Each point is created on access: a search returns hundreds and uses a few,
    and objects for all of them would slow the garbage collector down."""

    ids: list[str]
    scores: list[float]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return Leg(self.ids[place], self.scores[place])
        return ScoredPoint(id=self.ids[place], score=self.scores[place])

    @property
    def by_id(self) -> dict[str, float]:
        """Scores by point id, best first."""
        return dict(zip(self.ids, self.scores, strict=True))

    @classmethod
    def of(cls, points: Sequence[ScoredPoint]) -> Leg:
        """Return the points as a leg."""
        return points if isinstance(points, Leg) else Leg([one.id for one in points], [one.score for one in points])


@dataclass(frozen=True, kw_only=True)
class StoredPoint:
    """A point as :meth:`VectorDBPlugin.scroll` lists it; ``payload`` has the requested fields."""

    id: str
    payload: dict[str, Any] = field(default_factory=dict)
    vector: np.ndarray | None = None  # if requested


# -- answers ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RerankResult:
    """A reranker's score: ``index`` is the position in the given documents, ``score`` is finite, higher is better."""

    index: int
    score: float
    document: str | None = None
    metadata: dict[str, Any] | None = None
