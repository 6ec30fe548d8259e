"""The context of every command: the global options, the output, and access to settings, runtime and server."""

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

    from semantik_pipeline.client import Client
    from semantik_pipeline.runtime import Runtime
    from semantik_pipeline.settings import Settings

#: Exit code for each outcome of an operation. An operation that has not finished gives 0.
EXIT = {"succeeded": 0, "degraded": 3, "failed": 1, "cancelled": 1}

#: The environment variable with the API key for the server given by `--url`, unless `--api-key-env` names another.
KEY_VARIABLE = "SEMANTIK_API_KEY"


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """One call of ``semantik``."""

    output: Output
    data_dir: Path | None = None
    config: Path | None = None
    verbose: bool = False
    url: str | None = None
    api_key_env: str | None = None

    def settings(self) -> Settings:
        from semantik_pipeline.cli.logs import configure_logs
        from semantik_pipeline.settings import load_settings

        settings = load_settings(self.config, data_dir=self.data_dir)
        configure_logs(settings.logs, verbose=self.verbose)
        return settings

    @contextmanager
    def runtime(self) -> Iterator[Runtime]:
        """Yield a runtime for the settings, and close it at the end. Its parts are created on first use."""
        from semantik_pipeline.runtime import Runtime

        settings = self.settings()
        require_folder(settings.data_dir)
        with Runtime(settings) as runtime:
            yield runtime

    def server(self) -> Client | None:
        """Return a client for the server that shall run this command, or None if this process shall run it.

        The server is the one given by ``--url``, else one that owns the data folder. The caller closes the client.
        Raises UsageError if the variable given by ``--api-key-env`` is not set, or its value can't be an API key.
        """
        from semantik_pipeline.ownership import local_server
        from semantik_pipeline.server_discovery import data_folder

        url, key = self.url, None
        if url is not None:
            key = self._key()
        elif found := local_server(data_folder(self.config, self.data_dir)):
            url, key = found
        if url is None:
            return None
        # httpx imports its own command line, which takes longer than the rest of httpx. This entry prevents it.
        sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
        from semantik_pipeline.client import Client

        return Client(url, key)

    def _key(self) -> str | None:
        from semantik_pipeline.errors import UsageError
        from semantik_pipeline.server_discovery import variable

        key = variable(self.api_key_env or KEY_VARIABLE)
        if key is None and self.api_key_env is not None:
            raise UsageError(f"The environment variable {self.api_key_env} is not set.", "Set it to the API key.")
        if key is not None and not (key.isascii() and key.isprintable()):
            raise UsageError(
                f"The value of {self.api_key_env or KEY_VARIABLE} is not an API key: it has characters that keys don't "
                "have.",
                "Copy the key again, or create one with `semantik keys create`.",
            )
        return key

    def command(self, line: str) -> str:
        """Return a command to type next, with the global options of this call, so that it uses the same data."""
        given = []
        if self.url:
            given.append(f"--url {shlex.quote(self.url)} ")
        if self.api_key_env:
            given.append(f"--api-key-env {shlex.quote(self.api_key_env)} ")
        if self.data_dir:
            given.append(f"--data-dir {shlex.quote(str(self.data_dir))} ")
        if self.config:
            given.append(f"--config {shlex.quote(str(self.config))} ")
        return f"semantik {''.join(given)}{line}"

    def say(self, line: str) -> None:
        """Print a line to standard error: it is for the user and not part of the answer."""
        print(line, file=sys.stderr, flush=True)


def begin(context: typer.Context) -> Invocation:
    """Reserve standard output for the answer and send logs to standard error. Every command calls this first."""
    from semantik_pipeline.cli.logs import configure_logs

    call: Invocation = context.find_root().obj
    call.output.guard()
    configure_logs(verbose=call.verbose)
    return call


def require_folder(folder: Path) -> None:
    """Create the data folder. Raises SettingsError if it can't be created or is not writable."""
    import os

    from semantik_pipeline.errors import SettingsError

    hint = "Choose another with --data-dir."
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"The data folder {folder} can't be created: {error.strerror}.", hint) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SettingsError(f"The data folder {folder} is not writable.", hint)
