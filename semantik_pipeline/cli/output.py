"""Reserves standard output for the command's answer, whatever libraries print."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

#: Maximum number of columns of running text.
TEXT_WIDTH = 100


class Output:
    """The destination of the answer: one JSON object, or text."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._stream: TextIO | None = None

    def guard(self) -> None:
        """Redirect file descriptor 1 to standard error, for this process and its children.

        The real standard output is kept for :meth:`give`. The redirection lasts until the process ends, because
        libraries also print at exit.
        """
        if self._stream is not None:
            return
        sys.stdout.flush()
        # Lone surrogates can't be encoded in UTF-8; they are written as the JSON escape \udcXX.
        self._stream = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace")
        os.dup2(2, 1)

    @property
    def stream(self) -> TextIO:
        return self._stream or sys.stdout

    def give(self, answer: dict[str, Any], show: Callable[[Console], None]) -> None:
        """Write the command's answer: the object as JSON with ``--json``, otherwise what ``show`` prints."""
        if self.as_json:
            self.write_json(answer)
        else:
            show(self.console())

    def write_json(self, answer: dict[str, Any]) -> None:
        self.stream.write(json.dumps(answer, ensure_ascii=False, default=str) + "\n")

    def console(self) -> Console:
        """Return a console on standard output. If that is not a terminal, nothing is wrapped or cut."""
        from rich.console import Console

        terminal = self.stream.isatty()
        return Console(file=self.stream, markup=False, highlight=False, width=None if terminal else 100_000)

    def flush(self) -> None:
        self.stream.flush()

    def abandon(self) -> None:
        """Drop all remaining output, even at exit, because the reader has closed the pipe (``| head``)."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (self.stream, sys.stdout):
            os.dup2(nowhere, stream.fileno())


def text_width(console: Console) -> int:
    """Return the number of columns for running text."""
    return min(console.width, TEXT_WIDTH)
