"""The shared plugin state file: which plugins are disabled, and how the others are configured.

One JSON file, written atomically by the CLI or the API and read by every process at its start. A missing file means
that all plugins are enabled and none is configured; a broken one stops the process, because "everything enabled" is
never a safe guess.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from semantik_pipeline.errors import StateFileError, StorageFull

#: The newest layout of the file that this program reads.
STATE_VERSION = 1
#: Seconds to wait for another process that is writing the file; a write takes milliseconds.
LOCK_TIMEOUT = 10.0

_OURS = ("version", "revision", "updated_at", "disabled_ids", "configs")
_MEND = "Mend the file, restore a copy, or move it away (then every plugin is enabled and none is configured)."


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
        raise StateFileError(f"The plugin state file {path} can't be read: {error.strerror}.", _MEND) from None
    return parse_state(body, str(path))


def parse_state(body: bytes, name: str) -> PluginState:
    """The state in these bytes; ``name`` is what errors call the file."""
    content = _parse_json(body, name)
    if not isinstance(content, dict):
        raise _wrong(name, "the top level", "an object", content)
    version = _whole_number(content, "version", STATE_VERSION, name)
    if version > STATE_VERSION:
        raise StateFileError(
            f"The plugin state file {name} has version {version}, and this program reads up to {STATE_VERSION}.",
            "Upgrade semantik-pipeline on this machine.",
        )
    if version < 1:
        raise _wrong(name, "version", "1", version)
    disabled, configs = _normalised(content, name)
    return PluginState(
        version=version,
        revision=_whole_number(content, "revision", 0, name),
        updated_at=_typed(content, "updated_at", (str, type(None)), "a time as text", None, name),
        disabled_ids=disabled,
        configs=configs,
        digest=hashlib.sha256(body).hexdigest(),
        extra={key: value for key, value in content.items() if key not in _OURS},
    )


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
                f"No space to write the plugin state file {target}.", "Free space and try again."
            ) from None
        raise StateFileError(
            f"The plugin state file {target} can't be written: {error.strerror or error}.",
            "Check the rights on its folder (the file is replaced, so mount the folder rather than the file).",
        ) from None


def render_state(state: PluginState) -> bytes:
    """The file's bytes for a state; reading them gives the state again."""
    content = {
        "version": state.version,
        "revision": state.revision,
        "updated_at": state.updated_at,
        "disabled_ids": sorted(state.disabled_ids),
        "configs": {key: _wrapped_if_needed(options) for key, options in sorted(state.configs.items())},
        **state.extra,
    }
    return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", "surrogatepass")


# -- reading ----------------------------------------------------------------------------------------------------------


def _parse_json(body: bytes, name: str) -> Any:
    try:
        return json.loads(
            body.decode("utf-8-sig", "surrogatepass"), object_pairs_hook=_without_repeats, parse_constant=_no_constant
        )
    except UnicodeDecodeError as error:
        where, what = f"byte {error.start}", "it is not UTF-8 text"
    except json.JSONDecodeError as error:
        where, what = f"line {error.lineno}, column {error.colno}", error.msg
    except RecursionError:
        where, what = "the top", "it is nested too deeply"
    except ValueError as error:
        where, what = "its keys and values", str(error)
    raise StateFileError(f"The plugin state file {name} is broken at {where}: {what}.", _MEND)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):  # JSON would let the last one win, which could enable what the first one disabled
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is there twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")


def _normalised(content: dict[str, Any], name: str) -> tuple[frozenset[str], dict[str, dict[str, Any]]]:
    disabled = _typed(content, "disabled_ids", (list,), "a list of plugin ids", [], name)
    for position, plugin_id in enumerate(disabled):
        if not isinstance(plugin_id, str):
            raise _wrong(name, f"disabled_ids[{position}]", "a plugin id as text", plugin_id)
    configs = {}
    ids = set(disabled)
    for plugin_id, value in _typed(content, "configs", (dict,), "an object", {}, name).items():
        if not isinstance(value, dict):
            raise _wrong(name, f"configs.{plugin_id}", "an object of options", value)
        enabled, configs[plugin_id] = _unwrapped(value, f"configs.{plugin_id}", name)
        if not enabled:
            ids.add(plugin_id)
    return frozenset(ids), configs


def _is_wrapped(value: dict[str, Any]) -> bool:
    return bool(value) and set(value) <= {"enabled", "config"}


def _unwrapped(value: dict[str, Any], where: str, name: str) -> tuple[bool, dict[str, Any]]:
    """``{"enabled": bool, "config": {...}}`` as (enabled, options); plain options are enabled."""
    if not _is_wrapped(value):
        return True, value
    enabled = _typed(value, "enabled", (bool,), "true or false", True, name, where)
    return enabled, _typed(value, "config", (dict,), "an object of options", {}, name, where)


def _wrapped_if_needed(options: dict[str, Any]) -> dict[str, Any]:
    return {"enabled": True, "config": options} if _is_wrapped(options) else options


def _whole_number(content: dict[str, Any], key: str, default: int, name: str) -> int:
    value = _typed(content, key, (int,), "a whole number", default, name)
    if isinstance(value, bool) or value < 0:
        raise _wrong(name, key, "a whole number from 0 up", value)
    return value


def _typed(
    content: dict[str, Any], key: str, types: tuple, expected: str, default: Any, name: str, where: str | None = None
) -> Any:
    value = content.get(key, default)
    if not isinstance(value, types):
        raise _wrong(name, f"{where}.{key}" if where else key, expected, value)
    return value


def _wrong(name: str, where: str, expected: str, found: Any) -> StateFileError:
    kind = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return StateFileError(
        f"The plugin state file {name} is broken at {where}: expected {expected}, found {kind.get(type(found), repr(found))}.",
        _MEND,
    )


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
