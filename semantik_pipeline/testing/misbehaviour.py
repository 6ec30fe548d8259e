"""The options with which every fake can be made to fail."""

from __future__ import annotations

import os
import time
from typing import Any

from semantik_pipeline.errors import PermanentError, PipelineError, ServiceUnavailable, TransientError

FAILURES: dict[str, type[PipelineError]] = {
    "permanent": PermanentError,
    "transient": TransientError,
    "unavailable": ServiceUnavailable,
}


def _operational(kind: str, description: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "description": description, "x-operational": True, **more}


#: Options for a schema's properties. They affect how a fake runs, never its output.
OPTIONS: dict[str, dict[str, Any]] = {
    "fail_on": _operational("string", "Raise when a text holds this."),
    "fail_as": _operational("string", "What to raise.", enum=[*FAILURES, "bug"], default="permanent"),
    "crash_on": _operational("string", "End the process at once (exit code 66) when a text holds this."),
    "hang_on": _operational("string", "Never come back when a text holds this."),
    "sleep_ms_per_text": _operational("number", "Milliseconds that each text takes.", default=0),
    "log_path": _operational("string", "A file that gets one line for each text that was worked on."),
}
CRASH_EXIT_CODE = 66


class Misbehaviour:
    """What a fake does with a text before the actual work, according to its configuration."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config

    @property
    def seconds(self) -> float:
        return self.config.get("sleep_ms_per_text", 0) / 1000

    def hangs(self, text: str) -> bool:
        return self._named("hang_on", text)

    def strike(self, text: str) -> None:
        """Crash or raise if the text contains the configured string."""
        if self._named("crash_on", text):
            os._exit(CRASH_EXIT_CODE)
        if self._named("fail_on", text):
            told = f"a text holds {self.config['fail_on']!r}, on which this fake fails."
            kind = FAILURES.get(self.config.get("fail_as", "permanent"))
            raise kind(told) if kind else RuntimeError(told)

    def act(self, text: str) -> None:
        """Hang, crash, raise or wait; blocks the thread."""
        while self.hangs(text):
            time.sleep(1)
        self.strike(text)
        if self.seconds:
            time.sleep(self.seconds)

    def log(self, line: str) -> None:
        """Append a line in one write, so that lines of several processes never mix, and survive a kill."""
        path = self.config.get("log_path")
        if path:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                os.write(file, f"{line}\n".encode("utf-8", "backslashreplace"))
            finally:
                os.close(file)

    def _named(self, option: str, text: str) -> bool:
        sign = self.config.get(option)
        return bool(sign and sign in text)
