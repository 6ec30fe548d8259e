"""What a command logs: one plain line each, unless the settings ask for more."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING

from semantik_pipeline import logs
from semantik_pipeline.cli.wording import printable

if TYPE_CHECKING:
    from semantik_pipeline.settings import Logs

#: What these warn about, the command's own answer says: documents in quarantine, unreadable folders, refused changes.
SAID_ANYWAY = ("semantik_pipeline.stages.unit_errors", "semantik_pipeline.builtin.connectors", "semantik.audit")

#: They warn about how they are used, which does not concern users of the program.
LIBRARIES = ("kombu", "celery")


def configure_logs(settings: Logs | None = None, *, verbose: bool) -> None:
    """Warnings and worse as one line each; with ``verbose``, a ``logs.level`` or ``logs.format = "json"`` as a worker
    writes them. ``settings`` are None until they are read."""
    given = settings.model_fields_set if settings else set()
    level = settings.level if settings and "level" in given else "info" if verbose else "warning"
    if (settings and (settings.format == "json" or "level" in given)) or verbose:
        from semantik_pipeline.settings import Logs

        logs.configure(settings or Logs(), level=level)
    else:
        handler = logs.Stderr()
        handler.setFormatter(_OneLine())
        handler.addFilter(_for_people)
        warnings.simplefilter("ignore")  # of libraries, to their developers
        logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
        for name in logs.OURS:
            logging.getLogger(name).setLevel(logging.WARNING)
    for name in SAID_ANYWAY:
        logging.getLogger(name).setLevel(logging.ERROR if level == "warning" else logging.NOTSET)
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.ERROR)


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"{record.levelname.lower()}: {printable(record.getMessage())}"


def _for_people(record: logging.LogRecord) -> bool:
    """Not what only a plugin's author can act on: which plugin held up the event loop for how long."""
    return (record.name, record.module) != ("semantik.plugins", "loop")
