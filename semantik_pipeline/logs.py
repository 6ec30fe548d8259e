"""Logging to standard error: one event per line, as text or JSON, with the ids of what it is about.

JSON lines name their worker. Code that works on a unit wraps it in :func:`bound`; lines of that thread, of the plugins
it calls and of its child processes then have the operation, the stage and the document.
"""

from __future__ import annotations

import contextvars
import json
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from secrets import token_hex
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from semantik_pipeline.settings import Logs

#: The root loggers of this project. All other loggers write warnings and errors only.
OURS = ("semantik_pipeline", "semantik", "workers")

_bound: contextvars.ContextVar[dict[str, Any] | None] = contextvars.ContextVar("semantik_log_ids", default=None)


@contextmanager
def bound(**ids: Any) -> Iterator[None]:
    """Add these ids to all lines logged in the block; ids of enclosing blocks stay. None values are ignored."""
    around = dict(_bound.get() or {})
    if "document" in ids:
        around.pop("documents", None)  # the new id is one of them
    token = _bound.set({**around, **{name: value for name, value in ids.items() if value is not None}})
    try:
        yield
    finally:
        _bound.reset(token)


def carried(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function for another thread, so that its lines have the ids that are bound now."""
    context = contextvars.copy_context()
    return lambda *args: context.run(function, *args)


def configure(settings: Logs, *, level: str | None = None) -> None:
    """Send this process's log to standard error, and nowhere else. ``level`` overrides the settings' level."""
    handler = Stderr()
    handler.setFormatter(JsonLines() if settings.format == "json" else Lines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in OURS:
        logging.getLogger(name).setLevel((level or settings.level).upper())
    logging.captureWarnings(True)


class Stderr(logging.StreamHandler):
    """A handler that looks up ``sys.stderr`` for each line, because a progress display replaces it temporarily."""

    def emit(self, record: logging.LogRecord) -> None:
        self.setStream(sys.stderr)
        super().emit(record)


class JsonLines(logging.Formatter):
    """Formats JSON: ``{"time", "level", "logger", "message", "worker"}``, the bound ids, and ``exception`` if any.

    Times are UTC. Lone surrogates, which JSON parsers reject, are replaced, and texts with the shape of a credential
    are removed.
    """

    def __init__(self) -> None:
        super().__init__()
        self._worker = worker_id()

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _scrubbed(record.getMessage()),
            "worker": self._worker,
            **(_bound.get() or {}),
        }
        if told := _exception(self, record):
            line["exception"] = _scrubbed(told)
        told = json.dumps(line, ensure_ascii=not _speaks_unicode(sys.stderr), default=str)
        return told.encode("utf-8", "replace").decode()


class Lines(logging.Formatter):
    """Formats text: ``TIME LEVEL logger: message [id=value ...]``, followed by the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        ids = " ".join(f"{name}={value}" for name, value in (_bound.get() or {}).items())
        head = f"{self.formatTime(record)} {record.levelname} {record.name}: {_scrubbed(record.getMessage())}"
        line = printable(f"{head} [{ids}]" if ids else head)
        told = _exception(self, record)
        return f"{line}\n{_scrubbed(told)}" if told else line


def worker_id() -> str:
    """Return this process's name in the ledger and in logs, ``host:pid:mark``.

    A process that executes its program again keeps its pid but gets a new mark.
    """
    return f"{socket.gethostname()}:{os.getpid()}:{_mark(os.getpid())}"


@lru_cache
def _mark(pid: int) -> str:
    return token_hex(2)


def _exception(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    told = formatter.formatException(record.exc_info) if record.exc_info else record.exc_text or ""
    return "\n".join(filter(None, (told, record.stack_info)))


def _scrubbed(text: str) -> str:
    from semantik_pipeline.plugins.secrets import scrub

    return scrub(text)


def _speaks_unicode(stream: TextIO) -> bool:
    return (getattr(stream, "encoding", None) or "").lower().replace("-", "") == "utf8"


#: Invisible characters that occur inside words and are kept: soft hyphen, zero-width joiners and similar ones.
_HARMLESS = frozenset("\u00ad\u200b\u200c\u200d\ufeff")


def printable(text: str) -> str:
    """Return the text on one line: line ends, other control characters and lone surrogates become escapes."""
    return "".join(c if c.isprintable() or c in _HARMLESS else _escape(c) for c in text)


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte of a file name that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    if character.isspace() and not character.isascii():
        return " "
    return character.encode("unicode_escape").decode("ascii")
