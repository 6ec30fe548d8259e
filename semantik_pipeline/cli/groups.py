"""Groups the commands in `semantik --help` by purpose."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

GROUPS = {
    "Index and search": ("index", "search", "eval"),
    "Manage": ("collections", "sources", "documents", "trash", "reindex", "rollback", "plugins", "models", "keys"),
    "Operate": ("status", "operations", "fleet", "verify", "doctor", "audit"),
    "Processes": ("serve", "worker", "scheduler", "migrate"),
}


class Grouped(TyperGroup):
    """A command group whose help lists the commands under the headings of :data:`GROUPS`.

    The help is plain text, so that rich is not imported.
    """

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        width = max(map(len, self.commands))
        for title, names in GROUPS.items():
            rows = [
                (name.ljust(width), self.commands[name].get_short_help_str(formatter.width - 6 - width))
                for name in names
            ]
            with formatter.section(title):
                formatter.write_dl(rows)
