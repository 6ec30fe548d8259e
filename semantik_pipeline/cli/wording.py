"""How numbers, times, paths and names read. Pure functions."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote_to_bytes

from semantik_pipeline.logs import printable

#: How the reason begins of a document that a stage failed on.
_STAGE = re.compile(r"^(?:sync|chunk|extract|embed|upsert): ")


def counted(number: int, noun: str) -> str:
    """``1 document``, ``1,204 documents``."""
    plural = noun if number == 1 else f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {plural}"


def states(documents: Mapping[str, int]) -> str:
    """``3 waiting for chunk, 1 indexed``: documents by status, where the name of a stage means that they wait for it."""
    waits = {name: f"waiting for {name}" for name in ("chunk", "extract", "embed", "upsert")}
    return ", ".join(f"{count:,} {waits.get(name, name)}" for name, count in sorted(documents.items()))


def duration(seconds: float) -> str:
    """``0.8 s``, ``42 s``, ``2 min 5 s``, ``1 h 10 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def roughly(seconds: float) -> str:
    """``42 s``, ``14 min``, ``5 h``, ``12 days``: as much as a table has room for."""
    for length, unit, upto in ((1, "s", 100), (60, "min", 100), (3600, "h", 72)):
        if seconds < length * upto:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds // 86400:,.0f} days"


def size(number: float) -> str:
    """Bytes in decimal units, as disks are sold: ``812 B``, ``1.2 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            break
        number /= 1000
    return f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"


def place(document: str) -> str:
    """A document's name for people: a ``file://`` URI as a path, short where it is below this or the home folder."""
    path = local_path(document)
    return short_path(path) if path is not None else printable(document)


def reason_of(document: str, reason: str) -> str:
    """Why a document failed, on one line after its name: without the stage, and without the name at the start.
    ``chunk: /notes/a.pdf is damaged: no reader …`` is ``damaged: no reader …``."""
    told = _STAGE.sub("", reason)
    for name in (local_path(document), document):
        if name and told.startswith(f"{name} "):
            told = told.removeprefix(f"{name} ").removeprefix("is ")
    return printable(told if ". " in told else told.removesuffix("."))


def as_argument(document: str) -> str:
    """A document's name to be typed in a shell: a ``file://`` URI as a path, from the current folder where it is below."""
    path = local_path(document)
    if path is None:
        return shlex.quote(document)
    try:
        return shlex.quote(path.removeprefix(f"{Path.cwd()}/"))
    except OSError:  # the current folder was removed
        return shlex.quote(path)


def local_path(document: str) -> str | None:
    """The path of a ``file://`` URI; None for any other unique id."""
    if not document.startswith("file:///"):
        return None
    return os.fsdecode(unquote_to_bytes(document.removeprefix("file://")))


def short_path(path: str) -> str:
    """``notes/a.md`` below the current folder, ``~/notes/a.md`` below home, else the whole path."""
    for folder, prefix in ((Path.cwd, ""), (Path.home, "~/")):
        try:
            above = f"{folder()}/"
        except (OSError, RuntimeError):  # the current folder was removed, or there is no home
            continue
        if above != "//" and path.startswith(above):
            return printable(prefix + path[len(above) :])
    return printable(path)


def one_line(text: str, width: int) -> str:
    """The text with its white space collapsed, cut at ``width`` characters with an ellipsis."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= width else f"{line[: width - 1]}…"
