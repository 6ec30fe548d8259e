"""Access control: API keys, auth plugins, and the principals that both yield. A key is shown once, at its creation."""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import threading
import time
from collections.abc import Collection, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semantik_pipeline.contracts import AuthRequest, Principal
from semantik_pipeline.errors import Forbidden, PipelineError, Unauthorized, UsageError
from semantik_pipeline.ledger.access import api_keys, audit_trail, document_access
from semantik_pipeline.ownership import KEY_FILE

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime

__all__ = [
    "AuthRequest",
    "Keyring",
    "Principal",
    "acting_as",
    "authenticate",
    "check",
    "create_key",
    "first_key",
    "list_keys",
    "note_denied",
    "revoke_key",
    "visible_documents",
]

LOGGER = logging.getLogger("semantik.access")

PREFIX = "sk_"
#: Random bytes of a key. It can't be guessed, so a hash without salt or stretching is enough.
KEY_BYTES = 32
#: Seconds for which a key is accepted without asking the ledger again, so a revoked key works at most this much longer.
KNOWN_SECONDS = 3.0
#: Seconds between two updates of a key's last use, and between two log lines about similar denied attempts.
NOTED_SECONDS = 60.0
#: Requests that may wait for auth plugins at the same time; plugins that hang hold at most this many threads.
MAX_ASKED = 32
#: The name of the embedded server's key, which is in the file `KEY_FILE` in the data folder.
LOCAL_KEY = "local"

_free = threading.BoundedSemaphore(MAX_ASKED)


# -- authentication --------------------------------------------------------------------------------------------------


def authenticate(runtime: Runtime, request: AuthRequest) -> Principal:
    """Identify the caller by an API key (``Authorization: Bearer KEY`` or ``X-API-Key: KEY``) or by an auth plugin.

    The plugins of ``api.auth`` are asked in order until one identifies the caller. The principal's name has a prefix
    for its origin: ``key:ci``, ``my-plugin:anna``. Blocks (ledger, plugin). Thread-safe. Raises Unauthorized.
    """
    try:
        return _by_key(runtime, request) or _by_plugins(runtime, request)
    except Unauthorized as error:
        note_denied(runtime, error, request)
        raise


@contextmanager
def acting_as(principal: Principal) -> Iterator[None]:
    """Record this principal in the audit trail for all changes in the block."""
    with audit_trail.acting_as(principal.name):
        yield


def note_denied(
    runtime: Runtime, error: Unauthorized | Forbidden, request: AuthRequest, principal: Principal | None = None
) -> None:
    """Count a denied attempt and log it, at most once per minute for similar attempts.

    :func:`authenticate` calls this for Unauthorized; code that catches Forbidden must call it.
    """
    reason = "forbidden" if isinstance(error, Forbidden) else "unauthorized"
    runtime.tally.count("http_requests_denied", reason=reason)
    runtime.keyring.tell(reason, principal.name if principal else request.client or "somebody", request, error)


def check(runtime: Runtime) -> None:
    """Initialize the plugins of ``api.auth``, when a server starts.

    Raises PluginNotFoundError if an entry is not a loaded auth plugin, PluginConfigError, or the exception of the
    plugin's ``initialize``.
    """
    for plugin_id in runtime.settings.api.auth:
        runtime.host.instance(plugin_id, kind="auth")


def visible_documents(runtime: Runtime, principal: Principal, document_ids: Collection[int]) -> set[int]:
    """Return those of the documents (ids of the ledger) that the principal may read."""
    with runtime.ledger.read() as tx:
        return document_access.open_ones(tx, document_ids, principal.principals)


def _by_key(runtime: Runtime, request: AuthRequest) -> Principal | None:
    for key in _keys(request):
        if (found := runtime.keyring.open(runtime, key)) is not None:
            return found
    return None


def _keys(request: AuthRequest) -> list[str]:
    scheme, _, token = (request.header("authorization") or "").partition(" ")
    given = [token.strip() if scheme.lower() == "bearer" else "", (request.header("x-api-key") or "").strip()]
    return [key for key in given if key.startswith(PREFIX)]


class Keyring:
    """A cache of the keys that this process has accepted lately, with their principals."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, Principal]] = {}  # hash -> (until, principal)
        self._told: dict[tuple[str, str], float] = {}

    def open(self, runtime: Runtime, key: str) -> Principal | None:
        """Return the principal of a key, None for an unknown key. Raises Unauthorized for an expired or revoked one."""
        hashed = _hashed(key)
        until, principal = self._known.get(hashed, (0.0, None))
        if principal is not None and time.monotonic() < until:
            return principal
        with runtime.ledger.read() as tx:
            row = api_keys.find(tx, hashed, noted=NOTED_SECONDS)
        if row is None:
            return None
        if row.state != "valid":
            self.forget()
            over = {"expired": "has expired", "revoked": "was revoked"}[row.state]
            raise Unauthorized(f"The API key {row.name!r} {over}.", "Ask an administrator for another.")
        found = Principal(f"key:{row.name}", row.role, row.collections, row.principals)
        believed = KNOWN_SECONDS if row.seconds_left is None else min(KNOWN_SECONDS, row.seconds_left)
        with self._lock:
            self._known[hashed] = time.monotonic() + believed, found
        if row.unnoted:
            with suppress(PipelineError), runtime.ledger.write() as tx:  # a failed update must not deny the request
                api_keys.note_use(tx, row.id)
        return found

    def forget(self) -> None:
        """Empty the cache, so that the ledger is asked again for every key."""
        with self._lock:
            self._known.clear()

    def tell(self, kind: str, who: str, request: AuthRequest, error: PipelineError) -> None:
        """Log a denied attempt, unless a similar one was logged within the last minute."""
        with self._lock:
            if time.monotonic() - self._told.get((kind, who), float("-inf")) < NOTED_SECONDS:
                return
            if len(self._told) > 1000:
                self._told.clear()
            self._told[kind, who] = time.monotonic()
        LOGGER.warning("Denied %s: %s %s: %s", who, request.method, request.path, error.message)


def _hashed(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


# -- auth plugins ----------------------------------------------------------------------------------------------------


def _by_plugins(runtime: Runtime, request: AuthRequest) -> Principal:
    for plugin_id in runtime.settings.api.auth:
        found = _asked(runtime, plugin_id, request)
        if found is not None:
            return replace(found, name=f"{plugin_id}:{found.name}")
    if _keys(request):
        raise Unauthorized("The API key is unknown.", "Check it, or ask an administrator for one.")
    if request.header("authorization") or request.header("x-api-key"):
        hint = (
            f"Keys start with {PREFIX} and are sent as `Authorization: Bearer KEY`. `semantik keys create` creates one."
        )
        raise Unauthorized("The credential in the request is not an API key.", hint)
    hint = "Send `Authorization: Bearer KEY`. `semantik keys create` creates a key."
    raise Unauthorized("The request has no API key.", hint)


def _asked(runtime: Runtime, plugin_id: str, request: AuthRequest) -> Principal | None:
    """Return the plugin's answer. Any failure of the plugin denies the request; the caller does not see the reason."""
    why: str
    try:
        answer = _within(runtime, plugin_id, request, runtime.settings.api.auth_deadline)
        if answer is None or isinstance(answer, Principal):
            return answer
        why = f"it answered {type(answer).__name__} instead of a Principal"
    except TimeoutError:
        why = f"it took more than {runtime.settings.api.auth_deadline:g} s"
    except Exception as error:
        from semantik_pipeline.plugins.secrets import scrub

        why = scrub(f"{type(error).__name__}: {error}")
    runtime.tally.count("auth_plugin_failures", plugin=plugin_id)
    LOGGER.error("The auth plugin %s failed, so a request was denied: %s", plugin_id, why)
    raise Unauthorized("The caller could not be identified.", "Try again. The server's log has the reason.")


def _within(runtime: Runtime, plugin_id: str, request: AuthRequest, seconds: float) -> Any:
    """Call the plugin in a separate thread, which is abandoned at the deadline."""
    from semantik_pipeline.search.deadlines import until

    free = _free
    if not free.acquire(blocking=False):
        raise TimeoutError
    moment = time.monotonic() + seconds
    answer: Future[Any] = Future()

    def work() -> None:
        try:
            plugin = runtime.host.instance(plugin_id, kind="auth")
            answer.set_result(runtime.host.call(until(moment, plugin.authenticate), request))
        except BaseException as error:  # a plugin may raise anything, including SystemExit
            answer.set_exception(error if isinstance(error, Exception) else RuntimeError(repr(error)))
        finally:
            free.release()

    threading.Thread(target=work, name=f"auth-{plugin_id}", daemon=True).start()
    return answer.result(max(0.0, moment - time.monotonic()))


# -- keys ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class NewKey:
    """A newly created key. ``key`` is the secret, shown only here; ``row`` is what the ledger stores."""

    key: str
    row: dict[str, Any]


def create_key(
    runtime: Runtime,
    name: str,
    *,
    role: str,
    collections: Collection[str] | None = None,
    principals: Collection[str] | None = None,
    seconds: float | None = None,
) -> NewKey:
    """Create a key that is valid for ``seconds`` (None: no expiry); for the other arguments see :class:`Principal`.

    Raises UsageError for an invalid role, name or duration, and Conflict if the name is taken.
    """
    if not name.strip() or name == LOCAL_KEY or not name.isprintable():
        raise UsageError(
            f"An API key can't be called {name!r}.", "Name it after the person or program that will use it."
        )
    if seconds is not None and not 0 < seconds < float("inf"):
        raise UsageError(f"A key can't expire after {seconds:g} seconds.", "Give a duration such as 90d.")
    Principal(name, role, collections, principals)  # validates the arguments
    return _made(runtime, name, role=role, collections=collections, principals=principals, seconds=seconds)


def _made(runtime: Runtime, name: str, *, again: bool = False, **values: Any) -> NewKey:
    key = PREFIX + secrets.token_urlsafe(KEY_BYTES)
    with runtime.ledger.write() as tx:
        if again:
            api_keys.forget(tx, name)
        row = api_keys.create(tx, name=name, hash=_hashed(key), **values)
        detail = {field: row[field] for field in ("role", "collections", "principals", "expires_at")}
        audit_trail.record(tx, event="key.create", subject=name, detail=detail)
    runtime.keyring.forget()
    return NewKey(key=key, row=row)


def list_keys(runtime: Runtime, *, limit: int | None = None, after: str | None = None) -> list[dict[str, Any]]:
    """Return at most ``limit`` keys by name, after the name ``after``, including revoked and expired ones.

    Each has its ``state``.
    """
    with runtime.ledger.read() as tx:
        return api_keys.list_keys(tx, limit=limit, after=after)


def revoke_key(runtime: Runtime, name: str) -> dict[str, Any]:
    """Revoke a key: in this process immediately, in other processes within KNOWN_SECONDS.

    Raises UsageError for an unknown name.
    """
    with runtime.ledger.write() as tx:
        row = api_keys.revoke(tx, name)
        audit_trail.record(tx, event="key.revoke", subject=name)
    runtime.keyring.forget()
    return row


def first_key(runtime: Runtime) -> Path:
    """Return the file in the data folder that holds the embedded server's admin key.

    The key and the file are created if there is none, or if the key in the file is not valid. Only the owner of the
    data folder may read the file; that user could open the ledger as well.
    """
    path = runtime.settings.data_dir / KEY_FILE
    with suppress(OSError, UnicodeDecodeError, Unauthorized):
        if (found := runtime.keyring.open(runtime, path.read_text("utf-8").strip())) and found.may("admin"):
            return path
    made = _made(runtime, LOCAL_KEY, again=True, role="admin")
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{made.key}\n")
    fresh.replace(path)
    return path
