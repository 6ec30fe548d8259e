"""What every command knows: the global options, where its answer goes, and how to get at settings and runtime."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from semantik_pipeline.cli.output import Output

if TYPE_CHECKING:
    import typer

    from semantik_pipeline.runtime import Runtime
    from semantik_pipeline.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """One call of ``semantik``."""

    output: Output
    data_dir: Path | None = None
    config: Path | None = None
    verbose: bool = False

    def settings(self) -> Settings:
        from semantik_pipeline.cli.logs import configure_logs
        from semantik_pipeline.settings import load_settings

        settings = load_settings(self.config, data_dir=self.data_dir)
        configure_logs(settings.logs, verbose=self.verbose)
        return settings

    @contextmanager
    def runtime(self) -> Iterator[Runtime]:
        """A runtime over the settings, closed at the end. Nothing of it is made before it is asked for."""
        from semantik_pipeline.runtime import Runtime

        settings = self.settings()
        require_folder(settings.data_dir)
        with Runtime(settings) as runtime:
            yield runtime

    def command(self, line: str) -> str:
        """A command to type next, with the global options of this one, so that it means the same data folder."""
        given = []
        if self.data_dir:
            given.append(f"--data-dir {shlex.quote(str(self.data_dir))} ")
        if self.config:
            given.append(f"--config {shlex.quote(str(self.config))} ")
        return f"semantik {''.join(given)}{line}"

    def say(self, line: str) -> None:
        """Tell the person at the terminal something that is no part of the answer."""
        print(line, file=sys.stderr, flush=True)


def begin(context: typer.Context) -> Invocation:
    """What every command does first: keep standard output for the answer, send logs to standard error."""
    from semantik_pipeline.cli.logs import configure_logs

    call: Invocation = context.find_root().obj
    call.output.guard()
    configure_logs(verbose=call.verbose)
    return call


def require_folder(folder: Path) -> None:
    """Make the data folder. Raises SettingsError where it can't be made or written, before anything is begun."""
    import os

    from semantik_pipeline.errors import SettingsError

    way_out = "Choose another with --data-dir."
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"The data folder {folder} can't be made: {error.strerror}.", way_out) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SettingsError(f"The data folder {folder} can't be written.", way_out)
