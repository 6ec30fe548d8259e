"""The shared plugin state file: which plugins are disabled, and how the others are configured.

One JSON file, written atomically by the CLI or the API and read by every process at its start. A missing file means
that all plugins are enabled and none is configured; a broken one stops the process, because "everything enabled" is
never a safe guess.
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
    """What the file says. ``digest`` is the SHA-256 of its bytes (of ``b""`` when there is no file), so that
    (revision, digest) tells an edit by hand from what a worker loaded. ``extra`` are top-level keys that we don't know.
    """

    version: int = STATE_VERSION
    revision: int = 0
    updated_at: str | None = None
    disabled_ids: frozenset[str] = frozenset()
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    digest: str = hashlib.sha256(b"").hexdigest()
    extra: dict[str, Any] = field(default_factory=dict)
    offered: dict[str, Any] = field(default_factory=dict)
    """What this process offers every plugin with an operational option of that name, below the file. Not in the file."""

    def is_disabled(self, plugin_id: str) -> bool:
        """Whether the id is disabled; ``-`` and ``_`` are equal."""
        return canonical(plugin_id) in {canonical(disabled) for disabled in self.disabled_ids}

    def config_of(self, plugin_id: str) -> dict[str, Any]:
        """The options that the file gives the plugin; a copy of the top level."""
        wanted = canonical(plugin_id)
        return next((dict(options) for key, options in self.configs.items() if canonical(key) == wanted), {})


def canonical(plugin_id: str) -> str:
    """The id for comparing: ``my_plugin`` and ``my-plugin`` are one."""
    return plugin_id.replace("_", "-")


def read_state(path: Path | str) -> PluginState:
    """Read the file. Raises StateFileError naming the file, the place in it, and the way out."""
    path = Path(path)
    try:
        body = path.read_bytes()
    except FileNotFoundError:
        return PluginState()
    except OSError as error:
        raise StateFileError(f"The plugin state file {path} can't be read: {error.strerror}.", MEND) from None
    return parse_state(body, str(path))


def parse_state(body: bytes, name: str) -> PluginState:
    """The state in these bytes; ``name`` is what errors call the file. Raises StateFileError."""
    return PluginState(**parse_fields(body, name), digest=hashlib.sha256(body).hexdigest())


def render_state(state: PluginState) -> bytes:
    """The file's bytes for a state; reading them gives the state again."""
    return render_fields(vars(state))


def update_state(path: Path | str, change: Callable[[PluginState], PluginState]) -> PluginState:
    """Apply ``change`` to what the file holds now, and write the result with ``revision`` + 1 and the present time.

    Processes take turns by a lock file beside it; readers see the old file or the new one, never a part. A change
    that changes nothing writes nothing. Raises StateFileError (broken file, no right to write) or StorageFull.
    """
    from filelock import FileLock, Timeout

    target = Path(os.path.realpath(path))  # replacing a symlink itself would leave its target behind
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
            # Workers may run under another user, and no secret is in it: keep the mode, or let everyone read.
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
        os.fsync(folder)  # so that the new name survives a power cut
    finally:
        os.close(folder)
