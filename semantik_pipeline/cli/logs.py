"""Logs go to standard error, in the words of the terminal."""

from __future__ import annotations

import logging
import sys
import warnings

from semantik_pipeline.cli.wording import printable

#: The roots of this project's loggers. Their level is set here, because Celery sets the root logger's as it likes.
OURS = ("semantik_pipeline", "semantik", "workers")

#: What these warn of, the command's own answer says: documents in quarantine, unreadable folders, refused changes.
SAID_ANYWAY = ("semantik_pipeline.stages.failures", "semantik_pipeline.builtin.connectors", "semantik.audit")

#: They warn of how they are used, which is no news to whoever uses the program.
LIBRARIES = ("kombu", "celery")


def configure_logs(*, verbose: bool) -> None:
    """Warnings and worse as one line each; with ``verbose`` everything, with times, and what Python itself warns of."""
    handler = _Stderr()
    if verbose:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logging.captureWarnings(True)
    else:
        handler.setFormatter(_OneLine())
        handler.addFilter(_for_people)
        warnings.simplefilter("ignore")  # of libraries, to their developers
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in OURS:
        logging.getLogger(name).setLevel(logging.INFO if verbose else logging.WARNING)
    for name in (*SAID_ANYWAY, *LIBRARIES):
        logging.getLogger(name).setLevel(logging.INFO if verbose else logging.ERROR)


class _Stderr(logging.StreamHandler):
    """Asks for ``sys.stderr`` at each line, because a progress display puts itself in its place for a while."""

    def emit(self, record: logging.LogRecord) -> None:
        self.setStream(sys.stderr)
        super().emit(record)


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"{record.levelname.lower()}: {printable(record.getMessage())}"


def _for_people(record: logging.LogRecord) -> bool:
    """Not what only a plugin's author can act on: which plugin held up the event loop for how long."""
    return (record.name, record.module) != ("semantik.plugins", "loop")
