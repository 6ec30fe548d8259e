"""The connector ``imap``: the messages of a mailbox, with each attachment as a separate document."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from contextlib import aclosing
from datetime import date
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from semantik_pipeline.builtin.connectors.imap_cursor import Folder, Mark, Place, Progress
from semantik_pipeline.builtin.connectors.imap_names import MailName, account_name
from semantik_pipeline.builtin.connectors.imap_options import SCHEMA
from semantik_pipeline.contracts import ConnectorPlugin
from semantik_pipeline.documents import Checkpoint, Complete, DocumentReference, IngestedDocument, Removal
from semantik_pipeline.errors import DocumentGone, PluginConfigError

if TYPE_CHECKING:
    from semantik_pipeline.builtin.connectors.imap_mailbox import Mailbox, Message
    from semantik_pipeline.builtin.connectors.imap_reader import Reader

log = logging.getLogger(__name__)

Event = DocumentReference | Removal | Checkpoint

#: Range of UIDs in one search, and number of messages between two checkpoints.
WINDOW = 20_000
BATCH = 200


class ImapConnector(ConnectorPlugin):
    """The first run names every message. Later runs name new messages, deleted ones, and those with changed flags. With
    CONDSTORE, a folder without changes takes one command. Everything is read-only: no message is marked as "seen".

    The text of a message never changes under its UID, so the change hint consists of its flags (and UIDVALIDITY). Flags
    are metadata, so changed flags do not cause a new embedding. ``problems`` lists the folders that the last run could
    not read.
    """

    PLUGIN_ID = "imap"
    PLUGIN_VERSION = "1.0.0"
    METADATA = {
        "name": "Mailbox",
        "description": "Mail on an IMAP server: messages, and attachments as separate documents.",
    }

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self.problems: list[str] = []
        self._opened: tuple[Mailbox, Reader] | None = None

    @classmethod
    def get_config_schema(cls) -> dict[str, Any]:
        return SCHEMA

    def validate_config(self) -> None:
        if importlib.util.find_spec("imapclient") is None:
            raise PluginConfigError(
                "The connector imap needs the package imapclient.", "Install it: pip install 'semantik-pipeline[imap]'."
            )
        if not self.config.get("host") or not self.config.get("username"):
            raise PluginConfigError("The connector imap needs a host and a username.", "Set both.")
        if bool(self.config.get("password")) == bool(self.config.get("access_token")):
            raise PluginConfigError(
                "The connector imap needs either a password or an access token.",
                "Set password_env or access_token_env to the name of an environment variable.",
            )
        _ = self._since

    async def cleanup(self) -> None:
        if self._opened is not None:
            await self._opened[0].close()

    # -- a run --------------------------------------------------------------------------------------------------------

    async def enumerate(self, cursor: Any = None) -> AsyncIterator[DocumentReference | Removal | Checkpoint | Complete]:
        self.validate_config()
        await asyncio.to_thread(importlib.import_module, "imapclient")
        from semantik_pipeline.builtin.connectors.imap_mailbox import FolderRefused

        # This enumeration needs its own list, because the instance is shared and another enumeration may start
        # meanwhile.
        self.problems = problems = list[str]()
        mailbox, reader = self._open()
        reader.forget()
        progress = Progress.of(cursor)
        names = self._chosen(await mailbox.folders())
        for removal in self._folders_gone(progress, names):
            yield removal
        for name in names:
            if progress.place and name < progress.place.folder:
                continue
            try:
                async with aclosing(self._folder(mailbox, reader, name, progress)) as events:
                    async for event in events:
                        yield event
            except FolderRefused as error:
                problems.append(str(error))
                log.warning("folder not read: %s", error)
                progress.full = False
        yield Complete(full=progress.everything and progress.full, cursor=progress.last())

    async def _folder(
        self, mailbox: Mailbox, reader: Reader, name: str, progress: Progress
    ) -> AsyncGenerator[Event, None]:
        """Yield what is new, gone or has changed flags in a folder, and advance the place in ``progress``."""
        validity, mark = await mailbox.open(name)
        folder = Folder.of(progress.rows[name]) if name in progress.rows else Folder(validity=validity)
        place = progress.place if progress.place and progress.place.folder == name else None
        if folder.validity != validity:
            folder, place = folder.renumbered(validity), None
        if place is None and mark.modseq is not None and folder.mark == mark and not folder.old_uids:
            return
        mark = place.mark if place else mark
        since = folder.mark.modseq if folder.mark else None
        async for uids, current in self._windows(mailbox, name, folder, place.uid if place else 0, mark):
            for removal in self._gone(name, folder, uids, current):
                yield removal
            new = [uid for uid in uids if uid in current and uid not in folder.uids]
            kept = [uid for uid in uids if uid in current and uid in folder.uids]
            if mark.modseq is not None and since is not None:
                changed = await mailbox.changed(name, uids[0], uids[-1], since)
                kept = [uid for uid in kept if uid in changed]
            messages = await mailbox.messages(name, new)
            reader.expect(name, messages)
            flagged = await mailbox.flags(name, kept)
            for reference in self._named(name, folder, [*messages, *flagged]):
                yield reference
            progress.rows[name] = folder.row()
            progress.place = Place(folder=name, uid=uids[-1], mark=mark)
            yield Checkpoint(progress.checkpoint())
        for removal in self._outdated(name, folder):
            yield removal
        folder.mark, folder.old_uids, folder.old_sections = mark, set(), {}
        progress.rows[name] = folder.row()

    async def _windows(
        self, mailbox: Mailbox, name: str, folder: Folder, after: int, mark: Mark
    ) -> AsyncIterator[tuple[list[int], set[int]]]:
        """Yield ``(UIDs, UIDs that exist)``. The first are those that the folder has or had, BATCH at a time; the
        second are all in the current window that exist now."""
        low, step = after + 1, WINDOW
        deleted = self._option("index_deleted")
        while low < mark.next_uid:
            high = min(low + step - 1, mark.next_uid - 1)
            current = set(await mailbox.search(name, low, high, deleted=deleted, since=self._since))
            uids = sorted(current | {uid for uid in folder.uids if low <= uid <= high})
            for start in range(0, len(uids), BATCH):
                yield uids[start : start + BATCH], current
            low, step = high + 1, WINDOW if uids else step * 4  # UIDs may have gaps of millions

    def _named(self, name: str, folder: Folder, messages: Iterable[Message]) -> Iterator[DocumentReference]:
        attachments = self._option("attachments")
        for message in messages:
            before, flags = folder.uids.get(message.uid), " ".join(message.flags)
            if before == flags:
                continue
            yield DocumentReference(self._name(name, message.uid), f"{folder.validity}:{flags}", message.size or None)
            folder.uids[message.uid] = flags
            if before is not None:
                continue  # its attachments were named when it was new, and do not change
            parts = message.outline.attachments if attachments and message.outline else ()
            for part in parts:
                yield DocumentReference(
                    self._name(name, message.uid, part.section),
                    str(folder.validity),
                    size=part.size,
                    media_type=part.media_type,
                )
            if parts:
                folder.sections[message.uid] = [part.section for part in parts]

    def _gone(self, name: str, folder: Folder, uids: Sequence[int], current: set[int]) -> Iterator[Removal]:
        for uid in uids:
            if uid not in current:
                folder.uids.pop(uid, None)
                yield from self._removals(name, uid, folder.sections.pop(uid, []))

    def _outdated(self, name: str, folder: Folder) -> Iterator[Removal]:
        """Removals of documents that were named under an earlier UIDVALIDITY and do not exist under the current one."""
        for uid in sorted(folder.old_uids):
            sections = folder.old_sections.get(uid, [])
            if uid not in folder.uids:
                yield from self._removals(name, uid, sections)
            else:
                now = folder.sections.get(uid, [])
                yield from (Removal(self._name(name, uid, one)) for one in sections if one not in now)

    def _folders_gone(self, progress: Progress, names: Sequence[str]) -> Iterator[Removal]:
        """Removals for folders that the server or the configuration no longer has."""
        for name in sorted(set(progress.rows) - set(names)):
            folder = Folder.of(progress.rows.pop(name))
            for uid in sorted(folder.uids.keys() | folder.old_uids):
                sections = {*folder.sections.get(uid, []), *folder.old_sections.get(uid, [])}
                yield from self._removals(name, uid, sorted(sections))

    def _removals(self, name: str, uid: int, sections: Iterable[str]) -> Iterator[Removal]:
        yield Removal(self._name(name, uid))
        yield from (Removal(self._name(name, uid, section)) for section in sections)

    # -- a document ---------------------------------------------------------------------------------------------------

    async def fetch(self, reference: DocumentReference) -> IngestedDocument:
        name = MailName.parse(reference.unique_id)
        if name is None or name.account != self._account:
            raise DocumentGone(f"{reference.unique_id} is not a message of {self._account}.")
        return await self._open()[1].read(name)

    def _name(self, folder: str, uid: int, section: str = "") -> str:
        return MailName(account=self._account, folder=folder, uid=uid, section=section).unique_id

    # -- the configuration --------------------------------------------------------------------------------------------

    def _chosen(self, found: Iterable[str]) -> list[str]:
        """The folders that match the patterns, in the order in which they are read. Raises PluginConfigError if there
        are none, because that is more often a mistake than an empty mailbox, and would remove everything."""
        names = list(found)
        chosen = [
            name for name in names if self._matches(name, "folders") and not self._matches(name, "exclude_folders")
        ]
        if not chosen:
            raise PluginConfigError(
                f"No folder of {self.config['host']} matches {self._option('folders')}.",
                f"It has: {', '.join(sorted(names)[:20]) or 'none'}.",
            )
        return sorted(chosen)

    def _matches(self, name: str, option: str) -> bool:
        plain = "INBOX" if name.upper() == "INBOX" else name
        return any(fnmatchcase(plain, "INBOX" if one.upper() == "INBOX" else one) for one in self._option(option))

    @property
    def _account(self) -> str:
        return account_name(self.config["username"], self.config["host"], self.config.get("port"))

    @property
    def _since(self) -> date | None:
        given = self.config.get("since")
        try:
            return date.fromisoformat(given) if given else None
        except ValueError as error:
            raise PluginConfigError(f"since is {given!r}, which is not a date.", "Write it as 2026-01-31.") from error

    def _option(self, name: str) -> Any:
        value = self.config.get(name)
        return SCHEMA["properties"][name]["default"] if value is None else value

    def _open(self) -> tuple[Mailbox, Reader]:
        from semantik_pipeline.builtin.connectors.imap_mailbox import Account, Mailbox
        from semantik_pipeline.builtin.connectors.imap_reader import Reader

        if self._opened is None:
            tls = self._option("tls")
            account = Account(
                host=self.config["host"],
                port=self.config.get("port") or (993 if tls == "on" else 143),
                tls=tls,
                ca_file=self.config.get("ca_file"),
                username=self.config["username"],
                password=self.config.get("password"),
                access_token=self.config.get("access_token"),
                timeout=self._option("timeout"),
            )
            mailbox = Mailbox(account)
            self._opened = mailbox, Reader(mailbox, max_bytes=self._option("max_bytes"))
        return self._opened
