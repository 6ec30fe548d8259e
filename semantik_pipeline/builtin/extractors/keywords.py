"""Extracts the keywords of a text with YAKE."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semantik_pipeline.contracts import ExtractorPlugin, HealthState, HealthStatus
from semantik_pipeline.documents import ExtractionResult, ExtractionType
from semantik_pipeline.errors import PluginConfigError, PluginLoadError

if TYPE_CHECKING:
    from yake import KeywordExtractor

_WAY_OUT = "Install it with: pip install semantik-pipeline[keywords]"
_MISSING = "The keywords extractor needs the package yake, which is not installed."


class KeywordsExtractor(ExtractorPlugin):
    """The ``top`` keyphrases of a text, most informative first. Takes about 7 ms for a chunk of 200 tokens.

    ``language`` selects the stop words; ``auto`` uses, for each text, the list that contains most of its words.
    """

    PLUGIN_ID = "keywords"
    PLUGIN_VERSION = "1.0.0"
    METADATA = {
        "name": "Keywords",
        "description": "The most characteristic phrases of a text, by YAKE (unsupervised, no model).",
        "semantik_version": ">=2.0,<3",
    }

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self._extractors: dict[str, KeywordExtractor] = {}

    @classmethod
    def supported_extractions(cls) -> list[ExtractionType]:
        return [ExtractionType.KEYWORDS]

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {
                "language": {
                    "type": "string",
                    "default": "auto",
                    "description": "ISO 639-1 code of the language whose stop words are used, or auto.",
                },
                "top": {"type": "integer", "minimum": 1, "maximum": 100, "default": 8},
                "max_words": {"type": "integer", "minimum": 1, "maximum": 5, "default": 3},
            },
            "additionalProperties": False,
        }

    @classmethod
    async def health_check(cls, config: dict[str, Any] | None = None) -> HealthStatus:
        if importlib.util.find_spec("yake") is None:
            return HealthStatus(HealthState.UNHEALTHY, f"{_MISSING} {_WAY_OUT}")
        try:
            _check_language((config or {}).get("language", "auto"))
        except PluginConfigError as error:
            return HealthStatus(HealthState.UNHEALTHY, str(error))
        return HealthStatus(HealthState.HEALTHY)

    def output_revision(self) -> str | None:
        try:
            return f"yake {importlib.metadata.version('yake')}"
        except importlib.metadata.PackageNotFoundError:
            return None

    async def initialize(self) -> None:
        if importlib.util.find_spec("yake") is None:
            raise PluginLoadError(_MISSING, _WAY_OUT)
        language = self.config.get("language", "auto")
        _check_language(language)
        self._extractor("en" if language == "auto" else language)

    def _extractor(self, language: str) -> KeywordExtractor:
        if language not in self._extractors:
            from yake import KeywordExtractor

            self._extractors[language] = KeywordExtractor(
                lan=language, n=self.config.get("max_words", 3), top=self.config.get("top", 8)
            )
        return self._extractors[language]

    async def extract(
        self, text: str, extraction_types: list[ExtractionType] | None = None, options: dict[str, Any] | None = None
    ) -> ExtractionResult:
        if extraction_types is not None and ExtractionType.KEYWORDS not in extraction_types:
            return ExtractionResult()
        if not any(map(str.isalpha, text)):
            return ExtractionResult()
        text = text.encode("utf-8", "replace").decode("utf-8")
        language = self.config.get("language", "auto")
        extractor = self._extractor(_likeliest(text) if language == "auto" else language)
        return ExtractionResult(keywords=[phrase for phrase, _ in extractor.extract_keywords(text)])


@cache
def _stop_words() -> dict[str, frozenset[str]]:
    """YAKE's own stop word lists by language, read as data files."""
    found = importlib.util.find_spec("yake")
    assert found is not None and found.origin is not None  # the callers have checked that yake is installed
    folder = Path(found.origin).parent / "core" / "StopwordsList"
    lists = {path.stem.removeprefix("stopwords_"): path for path in sorted(folder.glob("stopwords_??.txt"))}
    return {name: frozenset(path.read_text("utf-8", "replace").lower().split()) for name, path in lists.items()}


def _check_language(language: str) -> None:
    known = _stop_words()
    if language != "auto" and language not in known:
        raise PluginConfigError(
            f"The keywords extractor has no stop words for the language {language!r}.",
            f"Use auto or one of: {' '.join(known)}.",
        )


def _likeliest(text: str) -> str:
    """The language whose stop words occur most in the text; English if none occur."""
    words = set(text.lower().split())
    hits = {language: len(words & stop_words) for language, stop_words in _stop_words().items()}
    best = max(hits, key=lambda language: (hits[language], language == "en"), default="en")
    return best if hits.get(best) else "en"
