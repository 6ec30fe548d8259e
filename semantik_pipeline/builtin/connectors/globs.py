"""Rules for the paths that a connector names: include and exclude patterns, as in .gitignore, and hidden names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

#: A path in a tree, as the names from the root down.
Parts = tuple[str, ...]

_GLOBS = {"type": "array", "items": {"type": "string"}, "default": []}

#: Schema of the options of a connector that has paths.
GLOB_OPTIONS: dict[str, Any] = {
    "include": {**_GLOBS, "description": "Only files that match one of these patterns (as in .gitignore)."},
    "exclude": {**_GLOBS, "description": "Files and folders to leave out (as in .gitignore)."},
    "hidden": {
        "type": "boolean",
        "default": False,
        "description": "Also files and folders whose names begin with a dot.",
    },
}


@dataclass(frozen=True, kw_only=True)
class PathRules:
    """``wanted`` and ``excluded`` take a path relative to the root; the path of a folder ends with ``/``."""

    hidden: bool = False
    wanted: Callable[[str], bool] = lambda relative: True
    excluded: Callable[[str], bool] = lambda relative: False

    def keeps_out(self, parts: Parts, *, folder: bool) -> bool:
        """Whether this path, or a folder above it, is hidden or excluded."""
        if not self.hidden and any(part.startswith(".") for part in parts):
            return True
        ends = range(1, len(parts) + 1)
        return any(self.excluded("/".join(parts[:end]) + ("/" if folder or end < len(parts) else "")) for end in ends)

    def names(self, path: str) -> bool:
        """Whether the connector names the file at this path."""
        return not self.keeps_out(tuple(path.split("/")), folder=False) and self.wanted(path)


def rules_given(config: dict[str, Any]) -> dict[str, Any]:
    """The fields of :class:`PathRules` for a configuration with :data:`GLOB_OPTIONS`."""
    include, exclude = config.get("include") or [], config.get("exclude") or []
    given: dict[str, Any] = {"hidden": config.get("hidden", False)}
    if include:
        given["wanted"] = _matcher(include)
    if exclude:
        given["excluded"] = _matcher(exclude)
    return given


def _matcher(patterns: list[str]) -> Callable[[str], bool]:
    import pathspec  # takes 0.1 s, and most sources have no patterns

    return pathspec.PathSpec.from_lines("gitignore", patterns).match_file
