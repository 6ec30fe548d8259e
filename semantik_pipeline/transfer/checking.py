"""Check an imported file's sources and documents against the rules for new ones.

A file may come from anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from semantik_pipeline import sources
from semantik_pipeline.errors import UnreadableExport
from semantik_pipeline.ledger.documents import exports
from semantik_pipeline.plugins import configuration as configured
from semantik_pipeline.plugins.secrets import REDACTED
from semantik_pipeline.schedules import Schedule
from semantik_pipeline.transfer.archive import EXPORT_AGAIN

if TYPE_CHECKING:
    from semantik_pipeline.plugins.host import PluginHost

_HASH = re.compile(r"[0-9a-f]{64}")


def checked_sources(host: PluginHost, listed: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """Return ``(sources as they are written here, warnings)`` from a manifest.

    Redacted secrets are left out. A connector may be missing, because all imported sources are paused.

    Raises PluginConfigError or UsageError for values that no source may have, and UnreadableExport for a value that is
    not a source.
    """
    if not isinstance(listed, list):
        raise _no_source(listed)
    found, warnings = [], []
    for source in listed:
        checked, said = _checked(host, source)
        found.append(checked)
        warnings += said
    if len({(one["connector"], one["name"]) for one in found}) < len(found):
        raise UnreadableExport("The export is damaged: two of its sources have the same name.", EXPORT_AGAIN)
    return found, warnings


def _checked(host: PluginHost, source: Any) -> tuple[dict[str, Any], list[str]]:
    if (
        not isinstance(source, Mapping)
        or set(exports.SOURCE) - set(source)
        or not isinstance(source["config"], Mapping)
    ):
        raise _no_source(source)
    values = {name: source[name] for name in exports.SOURCE}
    connector, name = values["connector"], values["name"]
    if not all(isinstance(one, str) and one.strip() for one in (connector, name)):
        raise _no_source(name)
    said = []
    config = {option: value for option, value in source["config"].items() if value != REDACTED}
    if hidden := sorted(set(source["config"]) - set(config)):
        said.append(
            f"the source {name!r} was exported without {', '.join(hidden)}, which are secrets; set them by environment "
            "variables"
        )
    if connector in {plugin.id for plugin in host.registry.of_kind("connector")}:
        configured.validate_part(host.registry.get(connector, "connector"), config)
    else:
        configured.refuse_secrets(connector, config)
        said.append(f"the connector {connector} is not loaded here; {name!r} can't be synced without it")
    sources.check_weight(values["weight"])
    return {
        **values,
        "config": config,
        "schedule": _schedule(name, values["schedule"]),
        "principals": sources.names_of(values["principals"]),
    }, said


def _schedule(name: str, stored: Any) -> dict[str, Any] | None:
    if stored is None:
        return None
    try:
        return Schedule.of(stored).stored()
    except (TypeError, ValueError) as error:
        raise UnreadableExport(
            f"The export is damaged: the schedule of {name!r} is not valid: {error}.", EXPORT_AGAIN
        ) from None


def checked_document(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document's values as they are written here.

    Raises UnreadableExport for a document that is not valid, and UsageError for principals that are not valid names.
    """
    values = {name: document[name] for name in exports.DOCUMENT}
    texts = [values[name] for name in ("content_hash", "media_type", "file_path", "title")]
    if (
        not isinstance(values["unique_id"], str)
        or not all(one is None or isinstance(one, str) for one in texts)
        or not _HASH.fullmatch(values["content_hash"] or "0" * 64)
    ):
        raise UnreadableExport("The export is damaged: one of its documents is not valid.", EXPORT_AGAIN)
    return {**values, "principals": sources.names_of(values["principals"])}


def _no_source(value: Any) -> UnreadableExport:
    return UnreadableExport(f"The export is damaged: {str(value)[:80]!r} is not a source.", EXPORT_AGAIN)
