"""Extracts named entities with any installed spaCy pipeline."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semantik_pipeline.contracts import ExtractorPlugin, HealthState, HealthStatus
from semantik_pipeline.documents import Entity, ExtractionResult, ExtractionType
from semantik_pipeline.errors import PluginConfigError, PluginLoadError

if TYPE_CHECKING:
    from spacy.language import Language

_FINDS_ENTITIES = ("ner", "beam_ner", "entity_ruler", "span_ruler")


class SpacyNerExtractor(ExtractorPlugin):
    """People, organisations, places and so on, as found by the pipeline ``model`` (a package name or a folder).

    Nothing is downloaded. If the model is missing, the error says how to install it.
    """

    PLUGIN_ID = "spacy-ner"
    PLUGIN_VERSION = "1.0.0"
    METADATA = {
        "name": "spaCy named entities",
        "description": "People, organisations, places, by any installed spaCy pipeline.",
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
                "model": {
                    "type": "string",
                    "default": "en_core_web_sm",
                    "description": "An installed spaCy pipeline: its package's name or the path of its folder.",
                },
                "types": {
                    "type": ["array", "null"],
                    "items": {"type": "string"},
                    "default": None,
                    "description": "Entity types to keep; null means all.",
                },
                "batch_size": {"type": "integer", "minimum": 1, "default": 64, "x-operational": True},
            },
            "additionalProperties": False,
        }

    @classmethod
    async def health_check(cls, config: dict[str, Any] | None = None) -> HealthStatus:
        """Look for the model without loading it."""
        missing = _why_missing(_model(config))
        if missing is not None:
            return HealthStatus(HealthState.UNHEALTHY, str(missing))
        return HealthStatus(HealthState.HEALTHY)

    def output_revision(self) -> str:
        """The model's name and version, with the hash of ``meta.json`` for a folder, and spaCy's version."""
        return f"{_model_revision(_model(self.config))}, spacy {importlib.metadata.version('spacy')}"

    async def initialize(self) -> None:
        """Load the model. Raises PluginLoadError if it is missing or has no component that finds entities."""
        import spacy

        model = _model(self.config)
        missing = _why_missing(model)
        if missing is not None:
            raise missing
        nlp = spacy.load(model)
        if not set(_FINDS_ENTITIES) & set(nlp.pipe_names):
            raise PluginLoadError(
                f"The spaCy pipeline {model!r} has no component that finds entities; it has {nlp.pipe_names}.",
                "Configure a pipeline with ner or entity_ruler.",
            )
        self._nlp = nlp

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
        if self._nlp is None:
            await self.initialize()
        wanted = self.config.get("types")
        kept = None if wanted is None else {name.upper() for name in wanted}
        pieces = [(owner, start, piece) for owner, text in enumerate(texts) for start, piece in self._pieces(text)]
        entities: list[list[Entity]] = [[] for _ in texts]
        docs = self._nlp.pipe((piece for _, _, piece in pieces), batch_size=self.config.get("batch_size", 64))
        for (owner, start, _), doc in zip(pieces, docs, strict=True):
            entities[owner].extend(_entities(texts[owner], start, doc, kept))
        return [ExtractionResult(entities=found) for found in entities]

    def _pieces(self, text: str) -> list[tuple[int, str]]:
        """Parts of the text within ``nlp.max_length``, which limits memory use; lone surrogates are replaced."""
        readable = "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)
        most = self._nlp.max_length
        return [(start, readable[start : start + most]) for start in range(0, len(text), most)]


def _entities(text: str, offset: int, doc: Any, kept: set[str] | None) -> list[Entity]:
    spans = [(offset + span.start_char, offset + span.end_char, span.label_.upper()) for span in doc.ents]
    return [Entity(text[start:end], kind, start, end) for start, end, kind in spans if kept is None or kind in kept]


def _model(config: dict[str, Any] | None) -> str:
    return (config or {}).get("model", "en_core_web_sm")


def _why_missing(model: str) -> PluginLoadError | PluginConfigError | None:
    """The error to raise if the model is missing, otherwise None."""
    if (Path(model) / "meta.json").is_file() or (model.isidentifier() and importlib.util.find_spec(model) is not None):
        return None
    if Path(model).exists():
        return PluginConfigError(
            f"{model} is not a spaCy pipeline: it has no meta.json.", "Give the folder that nlp.to_disk wrote."
        )
    return PluginLoadError(
        f"The spaCy pipeline {model!r} is not installed.",
        f"Install it (python -m spacy download {model}), or set the option model to an installed pipeline or its"
        " folder.",
    )


def _model_revision(model: str) -> str:
    meta = Path(model) / "meta.json"
    if meta.is_file():
        about = json.loads(meta.read_text("utf-8"))
        digest = hashlib.sha256(meta.read_bytes()).hexdigest()[:16]
        return f"{about.get('lang')}_{about.get('name')} {about.get('version')} {digest}"
    try:
        return f"{model} {importlib.metadata.version(model)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{model} not installed"
