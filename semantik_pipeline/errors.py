"""The tree of errors. Its type decides what happens to a unit of work; its text is for the person who reads it.

A message says what happened, to what, and what to do next. Every error here pickles, because errors cross
process borders (see ``plugins/child.py``).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence


class PipelineError(Exception):
    """Anything this project raises on purpose.

    ``hint`` is the way out, in one sentence; it is shown after the message.
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
    """It may work next time: the unit waits and is tried again, up to ``work.max_attempts``."""

    def __init__(self, message: str = "", hint: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, hint)
        self.retry_after = retry_after


class ServiceUnavailable(TransientError):
    """A server (store, model endpoint, database) is away. No document is to blame, so no attempt is counted."""


class StorageUnavailable(ServiceUnavailable):
    """The ledger or the blobs are away: what everybody needs, and no source's fault either."""


class ServiceFailing(ServiceUnavailable):
    """A server answers, and fails by itself (HTTP 500). That is hardly ever a document's doing, so none is charged; but
    lest one that is to blame keeps its companions waiting, what failed together runs alone."""


class OutOfMemory(ServiceUnavailable):
    """A device has not the memory for a piece of work. It may elsewhere, or later; what it failed on runs alone."""


class PermanentError(PipelineError):
    """It will fail the same way every time: the document is quarantined at once."""


class UnsupportedContent(PermanentError):
    """No parser takes this media type, or the parser refuses this content (encrypted, corrupt, not text)."""


class CredentialsRejected(PermanentError):
    """The source's credentials were refused, or it wants some and has none: trying again only locks the account."""


class MassDeletion(PermanentError):
    """So many documents have vanished from a source that it is paused and asks, rather than believe it."""


class DocumentUnreadable(TransientError):
    """A document could not be read now, and trying again at once would not help (no permission, a device that fails, a size
    above the source's limit). That says nothing of what it holds: what is indexed of it stays, and each sync asks for it
    again."""


class SkipDocument(PipelineError):
    """There is nothing here to index (empty, a FIFO, no text): the document is listed as skipped, with this reason, and what
    was indexed of it is removed."""


class DocumentGone(PipelineError):
    """The source does not have the document: it vanished between being named and being fetched, and is treated as not
    seen; or the host asked for it by its name alone, and it is removed."""


# -- the killable child process --------------------------------------------------------------------------------------


class ChildError(TransientError):
    """The child process could not finish a request; only the request's own document is charged."""


class ChildTimeout(ChildError):
    """The plugin was still running at the deadline and was killed."""


class ChildCrashed(ChildError):
    """The child process died (a signal, ``os._exit``) while it worked on the request."""


class ChildOutOfMemory(PermanentError):
    """The plugin needed more than the memory limit."""


# -- plugins ---------------------------------------------------------------------------------------------------------


class PluginError(PipelineError):
    """Something about a plugin."""


class PluginLoadError(PluginError):
    """A plugin could not be imported, or is not of its kind's shape."""


class PluginConfigError(PluginError):
    """A plugin's configuration does not fit its schema, or holds a raw secret."""

    exit_code = 2


class VariableNotSet(PluginConfigError):
    """An option names an environment variable that this process does not have; another process may."""


class PluginCompatibilityError(PluginLoadError):
    """The plugin asks for another plugin API version or another package than what is installed."""


class PluginNotFoundError(PluginError):
    """No plugin of that id (and kind) is loaded: unknown, disabled or failed. The message says which."""

    exit_code = 2


# -- configuration, data folder, callers -----------------------------------------------------------------------------


class SettingsError(PipelineError):
    """A setting is unknown or its value unusable."""

    exit_code = 2


class StateFileError(PipelineError):
    """The shared plugin state file is corrupt or of a newer version. Nothing starts until it is mended."""


class UsageError(PipelineError):
    """The caller asked for something that does not exist or makes no sense (unknown collection, bad filter)."""

    exit_code = 2


class NotFound(UsageError):
    """What was named is not there (any more): a collection, a source, a document, an operation.

    ``there`` are the names of what there is instead, where the hint tells them."""

    def __init__(self, message: str = "", hint: str | None = None, there: Sequence[str] | None = None) -> None:
        super().__init__(message, f"There are: {', '.join(there)}." if there else hint)
        self.there = there

    def hint_among(self, names: Collection[str] | None) -> str | None:
        """The hint, for somebody who may know of these names alone (None: of all)."""
        if names is None or not self.there:
            return self.hint
        mine = [name for name in self.there if name in names]
        return f"There are: {', '.join(mine)}." if mine else None


class Conflict(UsageError):
    """What was asked for can't be done beside what is there, or is being done, already; the message names it."""


class ChangedMeanwhile(Conflict):
    """What was read to be changed is no longer what is there: somebody else changed it. Read it again."""


class UnreadableExport(UsageError):
    """A file to import is no export of a collection, damaged, cut short, or of a newer format. Nothing was imported."""


class Unauthorized(PipelineError):
    """The API does not know who calls: no key, or one that is unknown, expired or revoked."""


class Forbidden(PipelineError):
    """The API knows who calls, and they may not; the message says which role or collection is needed."""


class ApiError(PipelineError):
    """The API answered a client with a fault that is none of these; ``status`` is HTTP's, ``request_id`` is in its log."""

    def __init__(
        self, message: str = "", hint: str | None = None, status: int = 500, request_id: str | None = None
    ) -> None:
        super().__init__(message, hint)
        self.status = status
        self.request_id = request_id


class SchemaMismatch(PipelineError):
    """The ledger's schema is not this program's; the hint names the command that mends it."""


class DataFolderInUse(PipelineError):
    """Another process owns the embedded index of this data folder, or works on this ledger with another index."""


class StorageFull(PipelineError):
    """The disk is full. What was committed is safe; free space and run the same command again."""


class WorkerUnfit(PipelineError):
    """This process can't work any more (its device has failed). It ends; no document is to blame."""


class LeaseLost(PipelineError):
    """The unit's lease is no longer ours: another worker has it, or a newer revision came. Drop the work."""


class FingerprintMismatch(PipelineError):
    """This worker's plugins cannot give the generation's fingerprint; the unit is left to others, ``blocked``."""


class DimensionMismatch(PermanentError):
    """A model's vectors are not as long as the index expects."""


def seconds_of(retry_after: str | None) -> float | None:
    """The seconds that a ``Retry-After`` header asks to wait (RFC 9110: seconds, or a date), none below 0; None: it was not
    sent, or can't be read."""
    import math
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    said = (retry_after or "").strip()
    try:
        seconds = float(said)
    except ValueError:
        try:
            until = parsedate_to_datetime(said)
        except (ValueError, OverflowError):  # a year of many digits
            return None
        seconds = ((until if until.tzinfo else until.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None
