"""The error hierarchy. The type decides what happens to a unit of work; the text is for the person who reads it.

A message says what happened, to what, and what to do next. Every error here can be pickled, because errors cross
process boundaries (see ``plugins/child.py``).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence


class PipelineError(Exception):
    """The base of all errors that this project raises on purpose.

    ``hint`` says in one sentence what to do; it is shown after the message.
    """

    exit_code = 1

    def __init__(self, message: str = "", hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self):
        return _rebuild, (type(self), self.args, self.__dict__.copy())

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


def _rebuild(cls: type[PipelineError], args: tuple, state: dict) -> PipelineError:
    error = cls.__new__(cls)
    Exception.__init__(error, *args)
    error.__dict__.update(state)
    return error


# -- what happens to a unit of work ------------------------------------------------------------------------------


class TransientError(PipelineError):
    """The failure may be temporary: the unit waits and is retried, up to ``work.max_attempts`` times."""

    def __init__(self, message: str = "", hint: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, hint)
        self.retry_after = retry_after


class ServiceUnavailable(TransientError):
    """A server (store, model endpoint, database) is unavailable. No document caused it, so no attempt is counted."""


class StorageUnavailable(ServiceUnavailable):
    """The ledger or the blobs, which all work needs, are unavailable. No source caused it either."""


class ServiceFailing(ServiceUnavailable):
    """A server reports an error of its own (HTTP 500). A document rarely causes that, so no attempt is counted.

    Documents that failed together are retried one by one, so that a document that causes it does not delay the others.
    """


class OutOfMemory(ServiceUnavailable):
    """A device has too little memory for the work. It may fit elsewhere or later; documents are retried one by one."""


class PermanentError(PipelineError):
    """The failure will repeat on every attempt: the document is quarantined at once."""


class UnsupportedContent(PermanentError):
    """No parser accepts this media type, or the parser refuses this content (encrypted, corrupt, not text)."""


class CredentialsRejected(PermanentError):
    """The source's credentials were refused or are missing. Retrying could lock the account."""


class MassDeletion(PermanentError):
    """So many documents have disappeared from a source that it is paused until somebody confirms the deletion."""


class DocumentUnreadable(TransientError):
    """A document could not be read, and an immediate retry would not help.

    Causes are a missing permission, a failing device, or a size above the source's limit. Its content may be fine: what
    is indexed of it stays, and each sync tries to read it again.
    """


class SkipDocument(PipelineError):
    """There is nothing to index (empty, a FIFO, no text).

    The document is listed as skipped, with this reason, and what was indexed of it is removed.
    """


class DocumentGone(PipelineError):
    """The source does not have the document.

    If it disappeared between being listed and being fetched, it is treated as not listed. If the host asked for it by
    its id, it is removed.
    """


# -- the killable child process --------------------------------------------------------------------------------------


class ChildError(TransientError):
    """The child process could not finish a request; only the request's own document is affected."""


class ChildTimeout(ChildError):
    """The plugin was still running at the deadline and was killed."""


class ChildCrashed(ChildError):
    """The child process died (a signal, ``os._exit``) during the request."""


class ChildOutOfMemory(PermanentError):
    """The plugin needed more than the memory limit."""


# -- plugins ---------------------------------------------------------------------------------------------------------


class PluginError(PipelineError):
    """A problem with a plugin."""


class PluginLoadError(PluginError):
    """A plugin could not be imported, or does not match the contract of its kind."""


class PluginConfigError(PluginError):
    """A plugin's configuration does not match its schema, or contains a raw secret."""

    exit_code = 2


class VariableNotSet(PluginConfigError):
    """An option names an environment variable that is not set in this process; it may be set in another one."""


class PluginCompatibilityError(PluginLoadError):
    """The plugin needs a plugin API version or a package that is not installed."""


class PluginNotFoundError(PluginError):
    """No plugin with that id (and kind) is loaded: it is unknown, disabled or failed. The message says which."""

    exit_code = 2


# -- configuration, data folder, callers -----------------------------------------------------------------------------


class SettingsError(PipelineError):
    """A setting is unknown, or its value is not valid."""

    exit_code = 2


class StateFileError(PipelineError):
    """The shared plugin state file is corrupt or has a newer version. Nothing starts until it is fixed."""


class UsageError(PipelineError):
    """The caller asked for something that does not exist or makes no sense (unknown collection, bad filter)."""

    exit_code = 2


class NotFound(UsageError):
    """A collection, source, document or operation does not exist, or no longer exists.

    ``there`` has the names of those that exist, if the hint lists them.
    """

    def __init__(self, message: str = "", hint: str | None = None, there: Sequence[str] | None = None) -> None:
        super().__init__(message, f"Choose one of: {', '.join(there)}." if there else hint)
        self.there = there

    def hint_among(self, names: Collection[str] | None) -> str | None:
        """Return the hint for a caller that may only see these names (None: all names)."""
        if names is None or not self.there:
            return self.hint
        mine = [name for name in self.there if name in names]
        return f"Choose one of: {', '.join(mine)}." if mine else None


class Conflict(UsageError):
    """The request conflicts with something that exists or is in progress; the message names it."""


class ChangedMeanwhile(Conflict):
    """The object was changed since the caller read it. The caller must read it again."""


class UnreadableExport(UsageError):
    """The import file is not a collection's export, or is damaged, truncated or of a newer format.

    Nothing was imported.
    """


class Unauthorized(PipelineError):
    """The caller of the API is not identified: its key is missing, unknown, expired or revoked."""


class Forbidden(PipelineError):
    """The caller of the API is identified but may not do this; the message names the required role or collection."""


class ApiError(PipelineError):
    """The API answered with an error of no other type.

    ``status`` is the HTTP status; the server's log has the ``request_id``.
    """

    def __init__(
        self, message: str = "", hint: str | None = None, status: int = 500, request_id: str | None = None
    ) -> None:
        super().__init__(message, hint)
        self.status = status
        self.request_id = request_id


class SchemaMismatch(PipelineError):
    """The ledger's schema does not match this program; the hint names the command that upgrades it."""


class DataFolderInUse(PipelineError):
    """Another process uses the embedded index of this data folder, or uses this ledger with another index."""


class StorageFull(PipelineError):
    """The disk is full. What was committed is safe; free space and run the same command again."""


class WorkerUnfit(PipelineError):
    """This process can't continue because its device has failed. It stops; no document caused it."""


class LeaseLost(PipelineError):
    """The lease of the unit is lost: another worker has it, or there is a newer revision. The work is dropped."""


class FingerprintMismatch(PipelineError):
    """This worker's plugins do not match the generation's fingerprint; the unit is left, ``blocked``, to others."""


class DimensionMismatch(PermanentError):
    """A model's vectors do not have the length that the index expects."""


def seconds_of(retry_after: str | None) -> float | None:
    """Return the seconds that a ``Retry-After`` header (RFC 9110: seconds or a date) asks to wait, at least 0.

    Returns None if the header was not sent or can't be parsed.
    """
    import math
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    said = (retry_after or "").strip()
    try:
        seconds = float(said)
    except ValueError:
        try:
            until = parsedate_to_datetime(said)
        except (ValueError, OverflowError):  # OverflowError: a year with too many digits
            return None
        seconds = ((until if until.tzinfo else until.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None
