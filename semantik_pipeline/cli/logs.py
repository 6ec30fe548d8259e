"""Logs go to standard error, in the words of the terminal."""

from __future__ import annotations

import json
import logging
import sys
import warnings

from semantik_pipeline.cli.wording import printable


def configure_logs(*, verbose: bool) -> None:
    """Warnings and worse as one line each; with ``verbose`` everything, with times, and what Python itself warns of."""
    handler = _Stderr()
    if verbose:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logging.captureWarnings(True)
    else:
        handler.setFormatter(_OneLine())
        warnings.simplefilter("ignore")  # of libraries, to their developers
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler], force=True)


class _Stderr(logging.StreamHandler):
    """Asks for ``sys.stderr`` at each line, because a progress display puts itself in its place for a while."""

    def emit(self, record: logging.LogRecord) -> None:
        self.setStream(sys.stderr)
        super().emit(record)


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"{record.levelname.lower()}: {printable(self._text(record))}"

    def _text(self, record: logging.LogRecord) -> str:
        if record.name != "semantik.plugins":
            return record.getMessage()
        try:
            line = json.loads(record.getMessage())  # an audit line, which is for machines
            return f"plugin {line['plugin']}: {line['event']} {line['outcome']}: {line['reason']}"
        except (ValueError, KeyError, TypeError):
            return record.getMessage()
