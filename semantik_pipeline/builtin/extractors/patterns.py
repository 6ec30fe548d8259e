"""Extracts addresses, dates, sums, versions and identifiers by rules."""

from __future__ import annotations

import importlib.metadata
import re
from typing import TYPE_CHECKING, Any

from semantik_pipeline.builtin.extractors.pattern_rules import TYPES, entity_rules
from semantik_pipeline.builtin.extractors.word_forms import FORMS, identifier_kind
from semantik_pipeline.contracts import ExtractorPlugin, HealthState, HealthStatus
from semantik_pipeline.documents import Entity, ExtractionResult, ExtractionType
from semantik_pipeline.errors import PluginConfigError

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Span

_MOST_WORDS = 300_000  # limit of a pipeline's vocabulary, which only grows; about 150 MB
#: No built-in rule matches a text without one of these, so plain prose is not even tokenized.
_ANY_HINT = re.compile(r"[\d@]|://|::|www\.", re.IGNORECASE)
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class PatternsExtractor(ExtractorPlugin):
    """spaCy's EntityRuler over words that are recognized by their shape.

    Each distinct word is examined once and the result stored as a flag of its lexeme, so a chunk of 200 tokens takes
    about a third of a millisecond. Offsets are exact. The option ``patterns`` adds further EntityRuler patterns.
    """

    PLUGIN_ID = "patterns"
    PLUGIN_VERSION = "1.0.0"
    METADATA = {
        "name": "Patterns",
        "description": "Mail addresses, URLs, dates, money, versions, identifiers, IP addresses, phone numbers.",
        "semantik_version": ">=2.0,<3",
        "requires": ["spacy>=3.8"],
    }

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self._nlp: Language | None = None

    @classmethod
    def supported_extractions(cls) -> list[ExtractionType]:
        return [ExtractionType.ENTITIES]

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {
                "types": {
                    "type": "array",
                    "items": {"enum": list(TYPES)},
                    "default": list(TYPES),
                    "description": "Built-in types to look for.",
                },
                "patterns": {
                    "type": "array",
                    "default": [],
                    "description": "More patterns in spaCy's EntityRuler notation: a phrase, or rules for each word.",
                    "items": {
                        "type": "object",
                        "properties": {"label": {"type": "string"}, "pattern": {"type": ["string", "array"]}},
                        "required": ["label", "pattern"],
                    },
                },
            },
            "additionalProperties": False,
        }

    @classmethod
    async def health_check(cls, config: dict[str, Any] | None = None) -> HealthStatus:
        return HealthStatus(HealthState.HEALTHY)

    def output_revision(self) -> str:
        return f"spacy {importlib.metadata.version('spacy')}"

    async def initialize(self) -> None:
        """Build the pipeline. Raises PluginConfigError, which names a pattern that spaCy rejects."""
        self._nlp = _pipeline(tuple(self.config.get("types", TYPES)), self.config.get("patterns", []))

    async def extract(
        self, text: str, extraction_types: list[ExtractionType] | None = None, options: dict[str, Any] | None = None
    ) -> ExtractionResult:
        return (await self.extract_batch([text], extraction_types, options))[0]

    async def extract_batch(
        self,
        texts: list[str],
        extraction_types: list[ExtractionType] | None = None,
        options: dict[str, Any] | None = None,
    ) -> list[ExtractionResult]:
        if extraction_types is not None and ExtractionType.ENTITIES not in extraction_types:
            return [ExtractionResult() for _ in texts]
        if self._nlp is None or len(self._nlp.vocab) > _MOST_WORDS:
            await self.initialize()
        worth = [n for n, text in enumerate(texts) if self.config.get("patterns") or _ANY_HINT.search(text)]
        docs = self._nlp.pipe(_LONE_SURROGATE.sub("\ufffd", texts[n]) for n in worth)
        found = {n: [_entity(texts[n], span) for span in doc.ents] for n, doc in zip(worth, docs, strict=True)}
        return [ExtractionResult(entities=found.get(n, [])) for n in range(len(texts))]


def _pipeline(types: tuple[str, ...], more: list[dict[str, Any]]) -> Language:
    import spacy
    from spacy.attrs import NAMES

    from semantik_pipeline.builtin.extractors.word_splitting import word_tokenizer

    nlp = spacy.blank("xx")
    nlp.max_length = 10**9  # the default limit protects statistical models; rules work on any length
    flags = {form: NAMES[nlp.vocab.add_flag(has_form)] for form, has_form in FORMS.items()}
    nlp.tokenizer = word_tokenizer(nlp)
    ruler: Any = nlp.add_pipe("entity_ruler")
    ruler.add_patterns(entity_rules(flags, types))
    for pattern in more:
        try:
            ruler.add_patterns([pattern])
        except Exception as error:
            raise PluginConfigError(
                f"The patterns extractor can't use the pattern {pattern!r}: {error}",
                "Patterns are written as for spaCy's EntityRuler.",
            ) from error
    return nlp


def _entity(text: str, span: Span) -> Entity:
    """The entity at its position in the given text. For "version 2.1" the entity is 2.1."""
    start, end, kind = span.start_char, span.end_char, span.label_
    metadata: dict[str, Any] = {}
    if kind == "VERSION" and len(span) == 2:
        start = span[1].idx
    elif kind == "IDENTIFIER" and (scheme := identifier_kind(span.text)):
        metadata["scheme"] = scheme
    return Entity(text[start:end], kind.upper(), start, end, 1.0, metadata)
