"""Log output of commands: one plain line per record, unless the settings or ``--verbose`` ask for more."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING

from semantik_pipeline import logs
from semantik_pipeline.cli.wording import printable

if TYPE_CHECKING:
    from semantik_pipeline.settings import Logs

#: Loggers whose warnings the command's answer repeats: quarantined documents, unreadable folders, refused changes.
SAID_ANYWAY = ("semantik_pipeline.stages.unit_errors", "semantik_pipeline.builtin.connectors", "semantik.audit")

#: Loggers that warn about how their library is used, which does not concern users of this program.
LIBRARIES = ("kombu", "celery")


def configure_logs(settings: Logs | None = None, *, verbose: bool) -> None:
    """Log warnings and errors, one line each.

    With ``verbose``, ``logs.level`` or ``logs.format = "json"``, log in the format of a worker instead. ``settings`` is
    None until they are read.
    """
    given = settings.model_fields_set if settings else set()
    level = settings.level if settings and "level" in given else "info" if verbose else "warning"
    if (settings and (settings.format == "json" or "level" in given)) or verbose:
        from semantik_pipeline.settings import Logs

        logs.configure(settings or Logs(), level=level)
    else:
        handler = logs.Stderr()
        handler.setFormatter(_OneLine())
        handler.addFilter(_for_people)
        warnings.simplefilter("ignore")  # warnings of libraries, for their developers
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
    """Filter out warnings for plugin authors: which plugin blocked the event loop, and for how long."""
    return (record.name, record.module) != ("semantik.plugins", "loop")
