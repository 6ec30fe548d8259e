"""The shared plugin state file: which plugins are disabled, and the configuration of the others.

One JSON file, written atomically by the CLI or the API and read by every process at its start. A missing file means
that all plugins are enabled and none is configured. A broken file stops the process, because "everything enabled" is
never a safe assumption.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from semantik_pipeline.errors import StateFileError, StorageFull
from semantik_pipeline.plugins.state_format import MEND, STATE_VERSION, parse_fields, render_fields

#: Seconds to wait for another process that is writing the file; a write takes milliseconds.
LOCK_TIMEOUT = 10.0


@dataclass(frozen=True, kw_only=True)
class PluginState:
    """The content of the file.

    ``digest`` is the SHA-256 of the file's bytes (of ``b""`` if there is no file): (revision, digest) shows whether
    the file was edited by hand since a worker loaded it. ``extra`` holds unknown top-level keys.
    """

    version: int = STATE_VERSION
    revision: int = 0
    updated_at: str | None = None
    disabled_ids: frozenset[str] = frozenset()
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    digest: str = hashlib.sha256(b"").hexdigest()
    extra: dict[str, Any] = field(default_factory=dict)
    offered: dict[str, Any] = field(default_factory=dict)
    """Options that this process sets for every plugin that declares them as operational; the file takes precedence.
    Not stored in the file."""

    def is_disabled(self, plugin_id: str) -> bool:
        """Whether the id is disabled; ``-`` and ``_`` count as the same character."""
        return canonical(plugin_id) in {canonical(disabled) for disabled in self.disabled_ids}

    def config_of(self, plugin_id: str) -> dict[str, Any]:
        """Return the plugin's options in the file, as a shallow copy."""
        wanted = canonical(plugin_id)
        return next((dict(options) for key, options in self.configs.items() if canonical(key) == wanted), {})


def canonical(plugin_id: str) -> str:
    """Return the id in the form for comparisons: ``my_plugin`` and ``my-plugin`` are the same id."""
    return plugin_id.replace("_", "-")


def read_state(path: Path | str) -> PluginState:
    """Read the file. Raises StateFileError, which names the file, the place in it, and how to fix it."""
    path = Path(path)
    try:
        body = path.read_bytes()
    except FileNotFoundError:
        return PluginState()
    except OSError as error:
        raise StateFileError(f"The plugin state file {path} can't be read: {error.strerror}.", MEND) from None
    return parse_state(body, str(path))


def parse_state(body: bytes, name: str) -> PluginState:
    """Parse the file's bytes; errors call the file ``name``. Raises StateFileError."""
    return PluginState(**parse_fields(body, name), digest=hashlib.sha256(body).hexdigest())


def render_state(state: PluginState) -> bytes:
    """Return the file's bytes for a state; parsing them gives the same state."""
    return render_fields(vars(state))


def update_state(path: Path | str, change: Callable[[PluginState], PluginState]) -> PluginState:
    """Apply ``change`` to the file's current content, and write it with ``revision`` + 1 and the current time.

    A lock file beside it makes writers take turns; readers see the old file or the new one, never a part. If
    ``change`` changes nothing, nothing is written. Raises StateFileError (broken file, no write permission) or
    StorageFull.
    """
    from filelock import FileLock, Timeout

    target = Path(os.path.realpath(path))  # replacing a symlink would leave the file it points to unchanged
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock", timeout=LOCK_TIMEOUT):
            before = read_state(target)
            after = change(before)
            if (after.disabled_ids, after.configs, after.extra) == (before.disabled_ids, before.configs, before.extra):
                return before
            now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
            body = render_state(replace(after, revision=before.revision + 1, updated_at=now))
            written = parse_state(body, str(target))
            _replace_file(target, body)
            return written
    except Timeout:
        raise StateFileError(
            f"Another process has been writing the plugin state file {target} for {LOCK_TIMEOUT:.0f} seconds.",
            "Try again.",
        ) from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(
                f"There is no space to write the plugin state file {target}.", "Free disk space and try again."
            ) from None
        raise StateFileError(
            f"The plugin state file {target} can't be written: {error.strerror or error}.",
            "Check the permissions of its folder. The file is replaced as a whole, so in a container mount its folder.",
        ) from None


# -- writing ----------------------------------------------------------------------------------------------------------


def _replace_file(target: Path, body: bytes) -> None:
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            # Workers may run as another user, and the file holds no secret: keep its mode, or let everyone read it.
            os.fchmod(file.fileno(), target.stat().st_mode & 0o777 if target.exists() else 0o644)
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # so that the rename survives a power failure
    finally:
        os.close(folder)
