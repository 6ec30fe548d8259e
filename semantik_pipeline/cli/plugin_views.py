"""Text output for plugins."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from semantik_pipeline.cli.tables import print_facts, print_table
from semantik_pipeline.cli.wording import printable

if TYPE_CHECKING:
    from rich.console import Console

    from semantik_pipeline.plugins.administer import PluginInfo


def show_list(console: Console, found: Sequence[PluginInfo], health: bool) -> None:
    header = ["TYPE", "ID", "VERSION", "FROM", "STATUS", *(["HEALTH"] if health else []), "REASON"]
    rows = [
        (
            info.kind or "?",
            printable(info.id),
            printable(info.version or ""),
            _from(info),
            "enabled" if info.status == "loaded" else info.status,
            *([info.health or "not checked"] if health else []),
            printable(info.reason or ""),
        )
        for info in found
    ]
    print_table(console, header, rows)


def show_health(console: Console, found: Sequence[PluginInfo]) -> None:
    rows = [
        (info.kind or "?", printable(info.id), info.health or info.status, printable(info.reason or ""))
        for info in found
    ]
    print_table(console, ("TYPE", "ID", "HEALTH", "REASON"), rows)


def show_plugin(console: Console, info: PluginInfo) -> None:
    """Print everything about one plugin, with its options and their defaults."""
    name = f" ({printable(info.display_name)})" if info.display_name and info.display_name != info.id else ""
    console.print(f"{printable(info.id)}{name}", style="bold")
    if info.description:
        console.print(f"  {printable(info.description)}", soft_wrap=True)
    print_facts(
        console,
        [
            ("type", info.kind or "unknown, because it is not imported"),
            ("version", printable(info.version or "")),
            ("from", _from(info)),
            ("entry point", printable(info.entry_point)),
            ("status", "enabled" if info.status == "loaded" else info.status),
            ("health", info.health or ""),
            ("note", printable(info.reason or "")),
            ("capabilities", _json(info.capabilities) if info.capabilities else ""),
            ("configured", _json(info.config) if info.config else "nothing; the defaults apply"),
        ],
    )
    _show_options(console, info.schema or {})


def show_changed(console: Console, info: PluginInfo, done: str) -> None:
    console.print(done, soft_wrap=True)
    if info.config:
        console.print(f"  configured: {_json(info.config)}", soft_wrap=True)
    if info.status == "failed":
        console.print(f"  It could not be loaded: {printable(info.reason or '')}", style="red", soft_wrap=True)


def _show_options(console: Console, schema: dict[str, Any]) -> None:
    properties = schema.get("properties") or {}
    if not properties:
        return
    console.print("\n  options", style="bold")
    required = set(schema.get("required") or ())
    rows = [
        (f"  {name}", _type(about), _default(name, about, required), printable(about.get("description", "")))
        for name, about in properties.items()
    ]
    print_table(console, ("  NAME", "TYPE", "DEFAULT", "DESCRIPTION"), rows)


def _type(about: dict[str, Any]) -> str:
    if "enum" in about:
        return " | ".join(str(value) for value in about["enum"])
    kind = about.get("type", "any")
    return kind if isinstance(kind, str) else " | ".join(kind)


def _default(name: str, about: dict[str, Any], required: set[str]) -> str:
    if "default" in about:
        return _json(about["default"])
    return "required" if name in required else ""


def _from(info: PluginInfo) -> str:
    return "built-in" if info.builtin else printable(info.origin)


def _json(value: Any) -> str:
    return printable(json.dumps(value, ensure_ascii=False, default=str))
