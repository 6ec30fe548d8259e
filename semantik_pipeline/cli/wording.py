"""Formats numbers, times, paths and names. The functions change nothing; some read the current or home folder."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote_to_bytes

from semantik_pipeline.logs import printable

#: Matches the stage at the start of the reason why a document failed.
_STAGE = re.compile(r"^(?:sync|chunk|extract|embed|upsert): ")


def counted(number: int, noun: str) -> str:
    """Format a count: ``1 document``, ``1,204 documents``."""
    plural = noun if number == 1 else f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {plural}"


def states(documents: Mapping[str, int]) -> str:
    """Format document counts by status: ``3 waiting for chunk, 1 indexed``. A stage as status means waiting for it."""
    waits = {name: f"waiting for {name}" for name in ("chunk", "extract", "embed", "upsert")}
    return ", ".join(f"{count:,} {waits.get(name, name)}" for name, count in sorted(documents.items()))


def duration(seconds: float) -> str:
    """Format a duration: ``0.8 s``, ``42 s``, ``2 min 5 s``, ``1 h 10 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def roughly(seconds: float) -> str:
    """Format a duration briefly, for tables: ``42 s``, ``14 min``, ``5 h``, ``12 days``."""
    for length, unit, upto in ((1, "s", 100), (60, "min", 100), (3600, "h", 72)):
        if seconds < length * upto:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds // 86400:,.0f} days"


def size(number: float) -> str:
    """Format a number of bytes in decimal units: ``812 B``, ``1.2 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            break
        number /= 1000
    return f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"


def place(document: str) -> str:
    """Format a document's unique id for display. A ``file://`` URI becomes a path, shortened by :func:`short_path`."""
    path = local_path(document)
    return short_path(path) if path is not None else printable(document)


def reason_of(document: str, reason: str) -> str:
    """Format why a document failed, to print after its name: without the stage, and without the name at the start.

    ``chunk: /notes/a.pdf is damaged: no reader …`` becomes ``damaged: no reader …``.
    """
    told = _STAGE.sub("", reason)
    for name in (local_path(document), document):
        if name and told.startswith(f"{name} "):
            told = told.removeprefix(f"{name} ").removeprefix("is ")
    return printable(told if ". " in told else told.removesuffix("."))


def as_argument(document: str) -> str:
    """Quote a document's unique id as a shell argument.

    A ``file://`` URI becomes a path, relative if it is below the current folder.
    """
    path = local_path(document)
    if path is None:
        return shlex.quote(document)
    try:
        return shlex.quote(path.removeprefix(f"{Path.cwd()}/"))
    except OSError:  # the current folder was removed
        return shlex.quote(path)


def local_path(document: str) -> str | None:
    """Return the path of a ``file://`` URI, or None for any other unique id."""
    if not document.startswith("file:///"):
        return None
    return os.fsdecode(unquote_to_bytes(document.removeprefix("file://")))


def short_path(path: str) -> str:
    """Shorten a path: ``notes/a.md`` below the current folder, ``~/notes/a.md`` below home, otherwise unchanged."""
    for folder, prefix in ((Path.cwd, ""), (Path.home, "~/")):
        try:
            above = f"{folder()}/"
        except (OSError, RuntimeError):  # the current folder was removed, or there is no home
            continue
        if above != "//" and path.startswith(above):
            return printable(prefix + path[len(above) :])
    return printable(path)


def one_line(text: str, width: int) -> str:
    """Return the text with collapsed white space, cut to ``width`` characters with an ellipsis."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= width else f"{line[: width - 1]}…"
