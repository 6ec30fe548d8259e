"""A connection to an IMAP server, used by one thread at a time. Every call runs in a thread of the executor."""

from __future__ import annotations

import asyncio
import imaplib
import logging
import ssl
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeVar

from semantik_pipeline.builtin.connectors.imap_cursor import Mark
from semantik_pipeline.builtin.connectors.imap_outline import Outline, outline_of
from semantik_pipeline.errors import CredentialsRejected, PermanentError, PipelineError, ServiceUnavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds without a command after which the connection is closed.
IDLE = 30.0

#: Response codes (RFC 5530) of a refused login that mean a problem of the server.
_SERVERS_FAULT = ("[UNAVAILABLE]", "[INUSE]", "[LIMIT]", "[SERVERBUG]", "[CONTACTADMIN]")


#: Responses to a refused fetch that mean a problem of the server, which affects all messages and not only this one.
_BUSY = ("[UNAVAILABLE]", "[INUSE]", "[LIMIT]", "[THROTTLED]", "[OVERQUOTA]", "COMMAND ERROR: BAD")


class FolderRefused(PermanentError):
    """The server has no such folder, or does not open it."""


class MessageRefused(PermanentError):
    """The server has the message and returns others, but does not return this one."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """The mailbox's server and credentials. ``tls`` is on, starttls or off."""

    host: str
    port: int
    tls: str
    ca_file: str | None
    username: str
    password: str | None
    access_token: str | None
    timeout: float

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class Message:
    """What the server reports about a message. ``outline`` is None if its structure could not be read."""

    uid: int
    flags: tuple[str, ...]
    size: int = 0
    outline: Outline | None = None


class Mailbox:
    """A mailbox that connects when needed. Its methods raise CredentialsRejected, FolderRefused, ServiceUnavailable, or
    PermanentError for a certificate that is not trusted."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self._lock = threading.Lock()
        self._client: Any = None
        self._selected: str | None = None
        self._validity: dict[str, int] = {}  # folder -> UIDVALIDITY when it was opened
        self._idle: asyncio.TimerHandle | None = None

    async def folders(self) -> list[str]:
        """The names of the folders that can hold messages."""
        return await self._run(lambda client: [name for flags, _, name in client.list_folders() if _holds(flags)])

    async def open(self, folder: str) -> tuple[int, Mark]:
        """Open a folder read-only. Returns ``(UIDVALIDITY, state)``. Until the folder is opened again, calls raise
        ServiceUnavailable if its UIDVALIDITY has changed."""
        validity, mark = await self._run(lambda client: self._select(client, folder))
        self._validity[folder] = validity
        return validity, mark

    def forget(self) -> None:
        """Forget the UIDVALIDITY of all folders, at the start of a new run, which opens its folders itself."""
        self._validity.clear()

    async def search(self, folder: str, low: int, high: int, *, deleted: bool, since: date | None) -> list[int]:
        """The UIDs from ``low`` to ``high``, without messages flagged as deleted unless ``deleted`` is set."""
        criteria: list[Any] = ["UID", f"{low}:{high}"]
        criteria += [] if deleted else ["UNDELETED"]
        criteria += ["SINCE", since] if since else []
        found = await self._in(folder, lambda client: client.search(criteria))
        return sorted(uid for uid in found if low <= uid <= high)  # "5:9" also matches the last message if its UID is 4

    async def changed(self, folder: str, low: int, high: int, modseq: int) -> set[int]:
        """The UIDs in this range whose flags changed after ``modseq`` (CONDSTORE)."""
        criteria = ["UID", f"{low}:{high}", "MODSEQ", str(modseq + 1)]
        return set(await self._in(folder, lambda client: client.search(criteria)))

    async def flags(self, folder: str, uids: Sequence[int]) -> list[Message]:
        """The flags of messages. Messages that are gone, or that the server does not return, are left out."""
        found = await self._in(folder, lambda client: _fetched(client, uids, ["FLAGS"]))
        return [Message(uid=uid, flags=flags_of(row)) for uid, row in sorted(found.items()) if row is not None]

    async def messages(self, folder: str, uids: Sequence[int]) -> list[Message]:
        """Flags, size and outline of messages. Messages that are gone are left out."""
        found = await self._in(folder, lambda client: _structures(client, uids))
        return [
            Message(uid=uid, flags=flags_of(row), size=row.get(b"RFC822.SIZE", 0), outline=_outline(row))
            for uid, row in sorted(found.items())
        ]

    async def data(self, folder: str, uids: Sequence[int], items: list[str]) -> dict[int, dict[bytes, Any]]:
        """These items of these messages. Messages that are gone, or that the server does not return, are left out.
        Raises MessageRefused if the server does not return the first one."""
        found = await self._in(folder, lambda client: _fetched(client, uids, items))
        given = {uid: row for uid, row in found.items() if row is not None}
        if len(found) > 1 and not given:
            raise ServiceUnavailable(f"{self.account} returns none of {len(found)} messages of {folder!r}.")
        if uids and uids[0] in found and uids[0] not in given:
            raise MessageRefused(
                f"{self.account} does not return the message {uids[0]} of {folder!r}, although it returns others.",
                "The server's log has the reason. The next sync requests it again.",
            )
        return given

    async def close(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        await asyncio.to_thread(self._close)

    # -- one call at a time -------------------------------------------------------------------------------------------

    async def _in(self, folder: str, ask: Callable[[Any], T]) -> T:
        def ask_there(client: Any) -> T:
            if self._selected != folder:
                validity, _ = self._select(client, folder)
                if validity != self._validity.get(folder, validity):
                    self._selected = None
                    raise ServiceUnavailable(f"{self.account} has just renumbered the messages of {folder!r}.")
            return ask(client)

        return await self._run(ask_there)

    async def _run(self, ask: Callable[[Any], T]) -> T:
        """Run ``ask`` with the connection. The connection is closed after IDLE seconds without a command."""
        loop = asyncio.get_running_loop()
        if self._idle is not None:
            self._idle.cancel()
        try:
            return await asyncio.to_thread(self._ask, ask)
        finally:
            self._idle = loop.call_later(IDLE, loop.run_in_executor, None, self._close)

    def _ask(self, ask: Callable[[Any], T]) -> T:
        with self._lock:
            fresh = self._client is None
            try:
                return ask(self._connected())
            except (imaplib.IMAP4.abort, OSError) as error:
                self._drop()
                if fresh:
                    raise _away(self.account, error) from error
            except imaplib.IMAP4.error as error:  # the server answered NO, or something invalid
                self._drop()
                raise ServiceUnavailable(f"{self.account}: {_said(error)}") from error
            try:  # the server may have closed an idle connection: try once more with a new one
                return ask(self._connected())
            except (imaplib.IMAP4.error, OSError) as error:
                self._drop()
                raise _away(self.account, error) from error

    def _connected(self) -> Any:
        if self._client is None:
            try:
                self._client = _login(_connect(self.account), self.account)
            except (imaplib.IMAP4.error, OSError) as error:
                raise _away(self.account, error) from error
        return self._client

    def _select(self, client: Any, folder: str) -> tuple[int, Mark]:
        self._selected = None
        try:
            told = client.select_folder(folder, readonly=True)
        except imaplib.IMAP4.abort:
            raise
        except imaplib.IMAP4.error as error:
            raise FolderRefused(f"{self.account} does not open the folder {folder!r}: {_said(error)}") from error
        self._selected = folder
        mark = Mark(
            next_uid=told.get(b"UIDNEXT") or _next_uid(client),
            exists=told.get(b"EXISTS", 0),
            modseq=told.get(b"HIGHESTMODSEQ") or None,
        )
        return told.get(b"UIDVALIDITY", 0), mark

    def _drop(self) -> None:
        client, self._client, self._selected = self._client, None, None
        if client is not None:
            try:
                client.shutdown()
            except (imaplib.IMAP4.error, OSError) as error:
                log.debug("%s: not closed cleanly: %s", self.account, error)

    def _close(self) -> None:
        with self._lock:
            try:
                if self._client is not None:
                    self._client.logout()
                    self._client = None
            except (imaplib.IMAP4.error, OSError) as error:
                log.debug("%s: no good-bye: %s", self.account, error)
            self._drop()


def _connect(account: Account) -> Any:
    from imapclient import IMAPClient

    context = None if account.tls == "off" else ssl.create_default_context(cafile=account.ca_file)
    client = IMAPClient(
        account.host, account.port, ssl=account.tls == "on", ssl_context=context, timeout=account.timeout
    )
    client.normalise_times = False  # keeps times as sent, with their time zones
    if account.tls == "starttls":
        client.starttls(context)
    return client


def _login(client: Any, account: Account) -> Any:
    from imapclient.exceptions import LoginError

    try:
        if account.access_token:
            client.oauth2_login(account.username, account.access_token)
        else:
            client.login(account.username, account.password or "")
    except LoginError as error:
        broken = isinstance(error.__context__, imaplib.IMAP4.abort)
        if broken or any(code in str(error).upper() for code in _SERVERS_FAULT):
            raise ServiceUnavailable(f"{account} accepts no logins now: {_said(error)}") from error
        raise CredentialsRejected(
            f"{account} refused the login of {account.username}: {_said(error)}",
            "Check username and the variable that password_env or access_token_env names.",
        ) from error
    if client.has_capability("ENABLE") and client.has_capability("CONDSTORE"):
        client.enable("CONDSTORE")
    return client


def _away(account: Account, error: Exception) -> PipelineError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return PermanentError(
            f"{account} has a certificate that is not trusted: {error.verify_message}.",
            "If your own authority signed it, set ca_file to its certificates.",
        )
    return ServiceUnavailable(f"{account} cannot be reached: {type(error).__name__} {_said(error)}")


def _said(error: Exception) -> str:
    """The server's message, which imaplib shows as bytes."""
    text = str(error).removeprefix("b'").removesuffix("'").strip()
    return text if text.endswith(".") else f"{text}."


def _next_uid(client: Any) -> int:
    """The next UID for a server that does not report UIDNEXT: the UID of the last message plus one."""
    last = client.search(["UID", "*"])
    return max(last, default=0) + 1


def _fetched(client: Any, uids: Sequence[int], items: list[str]) -> dict[int, dict[bytes, Any] | None]:
    """Fetch items for a batch of messages. If a message is refused or cannot be parsed, fetch them one by one, so that
    the others are not affected. A refused message gets None, provided that the server still answers."""
    if not uids:
        return {}
    try:
        return dict(client.fetch(list(uids), items))
    except imaplib.IMAP4.abort:
        raise
    except imaplib.IMAP4.error as error:
        if any(code in str(error).upper() for code in _BUSY):
            raise
        if len(uids) > 1:
            return {uid: row for one in uids for uid, row in _fetched(client, [one], items).items()}
        client.noop()
        log.warning("the message %d was not returned: %s", uids[0], _said(error))
        return {uids[0]: None}


def _structures(client: Any, uids: Sequence[int]) -> dict[int, dict[bytes, Any]]:
    """Flags, size and structure of messages. If the structure of a message cannot be fetched, only flags and size."""
    found: dict[int, dict[bytes, Any]] = {}
    for uid, row in _fetched(client, uids, ["FLAGS", "RFC822.SIZE", "BODYSTRUCTURE"]).items():
        less = {uid: row} if row is not None else _fetched(client, [uid], ["FLAGS", "RFC822.SIZE"])
        found.update({uid: row or {} for uid, row in less.items()})
    return found


def _outline(row: dict[bytes, Any]) -> Outline | None:
    structure = row.get(b"BODYSTRUCTURE")
    try:
        return outline_of(structure) if structure is not None else None
    except (IndexError, TypeError, AttributeError) as error:
        log.warning("a message has an invalid structure: %s", error)
        return None


def flags_of(row: dict[bytes, Any]) -> tuple[str, ...]:
    """The flags in lower case and sorted order, without the backslash of system flags. "Recent" is left out, because it
    describes sessions, not messages."""
    names = (flag.decode("utf-8", "replace").lstrip("\\").lower() for flag in row.get(b"FLAGS", ()))
    return tuple(sorted(set(names) - {"recent"}))


def _holds(flags: Iterable[bytes]) -> bool:
    return not {flag.lower() for flag in flags} & {b"\\noselect", b"\\nonexistent"}
