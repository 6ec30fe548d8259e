"""The part of the extract stage that runs in a child process, and the stored form of its results."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from semantik_pipeline.documents import Entity, ExtractionResult, ExtractionType
from semantik_pipeline.plugins.secrets import scrub
from semantik_pipeline.stages.parsing import storable_values

if TYPE_CHECKING:
    from semantik_pipeline.plugins.host import PluginHost


def extract_texts(
    host: PluginHost, plugin_id: str, options: dict[str, Any], types: list[str] | None, texts: dict[str, str]
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Extract from texts, in the child. Returns ``(results by text hash, failures by text hash)``.

    If a batch fails, each of its texts is tried alone.
    """
    extractor = host.instance(plugin_id, options, frozen=True)
    wanted = [ExtractionType(name) for name in types] if types else None
    try:
        answers = host.call(extractor.extract_batch, list(texts.values()), wanted)
        if len(answers) == len(texts):
            return {key: stored(result) for key, result in zip(texts, answers, strict=True)}, {}
        failure = f"it returned {len(answers)} results for {len(texts)} texts"
    except Exception as error:
        failure = scrub(f"{type(error).__name__}: {error}")
    if len(texts) == 1:
        return {}, dict.fromkeys(texts, failure)
    results: dict[str, dict[str, Any]] = {}
    failures: dict[str, str] = {}
    for key, text in texts.items():
        part, failed = extract_texts(host, plugin_id, options, types, {key: text})
        results |= part
        failures |= failed
    return results, failures


def stored(result: ExtractionResult) -> dict[str, Any]:
    """Return a result in the form that the ledger stores: JSON, without empty parts."""
    return {name: storable_values(value) for name, value in asdict(result).items() if value not in (None, [], {})}


def loaded(value: dict[str, Any]) -> ExtractionResult:
    return ExtractionResult(**{**value, "entities": [Entity(**entity) for entity in value.get("entities", [])]})


def merged(values: Iterable[dict[str, Any] | None]) -> ExtractionResult:
    """Merge several stored results into one. Missing results (None) are skipped."""
    result = ExtractionResult()
    for value in values:
        if value:
            result = result.merge(loaded(value))
    return result
