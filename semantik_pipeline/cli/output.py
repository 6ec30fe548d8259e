"""Standard output belongs to the answer alone, whatever libraries print."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

#: Columns of running text where no terminal says otherwise.
TEXT_WIDTH = 100


class Output:
    """Where answers go: one JSON object, or text for people."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._stream: TextIO | None = None

    def guard(self) -> None:
        """From here on file descriptor 1 is standard error, for this process and its children; the real standard
        output is kept for :meth:`give`. It stays so until the process ends, because libraries print at exit too."""
        if self._stream is not None:
            return
        sys.stdout.flush()
        # What JSON cannot say otherwise, lone surrogates, comes out as JSON's own \udcXX.
        self._stream = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace")
        os.dup2(2, 1)

    @property
    def stream(self) -> TextIO:
        return self._stream or sys.stdout

    def give(self, answer: dict[str, Any], show: Callable[[Console], None]) -> None:
        """The command's answer: the object itself under ``--json``, else what ``show`` prints."""
        if self.as_json:
            self.write_json(answer)
        else:
            show(self.console())

    def write_json(self, answer: dict[str, Any]) -> None:
        self.stream.write(json.dumps(answer, ensure_ascii=False, default=str) + "\n")

    def console(self) -> Console:
        """A console on standard output. Nothing is wrapped or cut where the output is no terminal."""
        from rich.console import Console

        terminal = self.stream.isatty()
        return Console(file=self.stream, markup=False, highlight=False, width=None if terminal else 100_000)

    def flush(self) -> None:
        self.stream.flush()

    def abandon(self) -> None:
        """Whoever read the output closed it (``| head``): what is left is dropped, at the end of the process too."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (self.stream, sys.stdout):
            os.dup2(nowhere, stream.fileno())


def text_width(console: Console) -> int:
    """Columns for running text."""
    return min(console.width, TEXT_WIDTH)
