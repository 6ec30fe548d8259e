"""Fetches messages and attachments. Some messages are fetched ahead, because the host requests them one by one."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from semantik_pipeline.builtin.connectors.imap_documents import attachment_document, message_document, raw_document
from semantik_pipeline.builtin.connectors.imap_mailbox import Mailbox, Message, flags_of
from semantik_pipeline.builtin.connectors.imap_names import MailName
from semantik_pipeline.builtin.connectors.imap_outline import Outline, Part
from semantik_pipeline.documents import IngestedDocument
from semantik_pipeline.errors import DocumentGone, DocumentUnreadable

log = logging.getLogger(__name__)

#: Maximum number of messages that are fetched together, and maximum bytes of text of each message fetched ahead.
AHEAD = 25
AHEAD_BYTES = 256 * 2**10

#: Maximum number of messages whose structure is kept until the host requests them, and of documents fetched ahead.
EXPECTED = 1_000
READY = 2 * AHEAD

#: Transferred bytes per byte of content: base64 takes four bytes for three, and lines have ends.
_ENCODED = 1.4


class Reader:
    """Reads documents by their ids. ``expect`` tells it which messages were just named to the host."""

    def __init__(self, mailbox: Mailbox, *, max_bytes: int) -> None:
        self.mailbox = mailbox
        self.max_bytes = max_bytes
        self._expected: dict[tuple[str, int], Message] = {}
        self._ahead: dict[str, IngestedDocument] = {}

    def expect(self, folder: str, messages: Iterable[Message]) -> None:
        """Remember messages that the host will request. Earlier ones are kept, because the host may still request
        them."""
        self._expected.update({(folder, message.uid): message for message in messages})
        _shrink(self._expected, EXPECTED)

    def forget(self) -> None:
        """Forget everything at the start of a new run, because flags may have changed."""
        self._expected.clear()
        self._ahead.clear()
        self.mailbox.forget()

    async def read(self, name: MailName) -> IngestedDocument:
        """Read a document. Raises DocumentGone, SkipDocument (no text), DocumentUnreadable (too large), and the errors
        of Mailbox."""
        ready = self._ahead.pop(name.unique_id, None)
        if ready is not None:
            return ready
        message = self._expected.get((name.folder, name.uid))
        if message is None:
            found = await self.mailbox.messages(name.folder, [name.uid])
            if not found:
                raise DocumentGone(f"{name.unique_id} is gone.")
            message = found[0]
        if message.outline is None:
            return await self._raw(name, message)
        if name.section:
            return await self._attachment(name, message.outline)
        return await self._message(name, message, message.outline)

    async def _message(self, name: MailName, message: Message, outline: Outline) -> IngestedDocument:
        self._refuse_large(name, sum(part.size for part in outline.text))
        together = [message, *self._alike(name, outline)]
        items = ["FLAGS", "INTERNALDATE", "BODY.PEEK[HEADER]"]
        for part in outline.text:
            items += [f"BODY.PEEK[{part.section}]"]
            items += [f"BODY.PEEK[{part.section}.MIME]"] if outline.multipart else []
        rows = await self.mailbox.data(name.folder, [one.uid for one in together], items)
        if name.uid not in rows:
            raise DocumentGone(f"{name.unique_id} is gone.")
        for one in together[1:]:
            self._expected.pop((name.folder, one.uid), None)
            if one.uid in rows and one.outline is not None:
                other = MailName(account=name.account, folder=name.folder, uid=one.uid)
                try:
                    self._ahead[other.unique_id] = _document(other, one.outline, rows[one.uid])
                except Exception as error:  # must not affect the requested message; raised again when this one is read
                    log.debug("not read ahead: %s: %s", other.unique_id, error)
        _shrink(self._ahead, READY)
        return _document(name, outline, rows[name.uid])

    def _alike(self, name: MailName, outline: Outline) -> list[Message]:
        """The next expected messages that have their text in the same sections, so that they can be fetched
        together."""
        sections = [part.section for part in outline.text]
        found: list[Message] = []
        for (folder, uid), message in self._expected.items():
            if len(found) >= AHEAD - 1:
                break
            if folder != name.folder or uid <= name.uid or message.outline is None:
                continue
            parts = message.outline.text
            small = sum(part.size for part in parts) <= min(AHEAD_BYTES, self.max_bytes)
            alike = message.outline.multipart == outline.multipart and [part.section for part in parts] == sections
            if small and alike:
                found.append(message)
        return found

    async def _attachment(self, name: MailName, outline: Outline) -> IngestedDocument:
        part = outline.part(name.section)
        if part is None:
            raise DocumentGone(f"{name.unique_id} is gone: the message has no such attachment.")
        self._refuse_large(name, part.size)
        mime = f"{part.section}.MIME" if outline.multipart else "HEADER"
        items = ["INTERNALDATE", "BODY.PEEK[HEADER]", f"BODY.PEEK[{part.section}]", f"BODY.PEEK[{mime}]"]
        row = (await self.mailbox.data(name.folder, [name.uid], items)).get(name.uid)
        if row is None:
            raise DocumentGone(f"{name.unique_id} is gone.")
        return attachment_document(
            name,
            part,
            header=_bytes(row, "HEADER"),
            mime=_bytes(row, mime),
            body=_bytes(row, part.section),
            received=row.get(b"INTERNALDATE"),
        )

    async def _raw(self, name: MailName, message: Message) -> IngestedDocument:
        self._refuse_large(name, message.size)
        items = ["INTERNALDATE", "BODY.PEEK[HEADER]", "BODY.PEEK[]"]
        row = (await self.mailbox.data(name.folder, [name.uid], items)).get(name.uid)
        if row is None:
            raise DocumentGone(f"{name.unique_id} is gone.")
        return raw_document(
            name,
            header=_bytes(row, "HEADER"),
            raw=_bytes(row, ""),
            flags=message.flags,
            received=row.get(b"INTERNALDATE"),
        )

    def _refuse_large(self, name: MailName, size: int) -> None:
        if size > self.max_bytes * _ENCODED:
            # each sync tries again, because the limit may have been raised; that only fetches the message's structure
            raise DocumentUnreadable(
                f"{name.unique_id} has {size:,} bytes as transferred; the limit is {self.max_bytes:,}.",
                "Raise max_bytes in the source's configuration.",
            )


def _shrink(held: dict[Any, Any], size: int) -> None:
    """Drop the oldest entries."""
    while len(held) > size:
        del held[next(iter(held))]


def _document(name: MailName, outline: Outline, row: dict[bytes, Any]) -> IngestedDocument:
    def mime(part: Part) -> bytes:
        return _bytes(row, f"{part.section}.MIME" if outline.multipart else "HEADER")

    return message_document(
        name,
        header=_bytes(row, "HEADER"),
        texts=[(part, mime(part), _bytes(row, part.section)) for part in outline.text],
        flags=flags_of(row),
        received=row.get(b"INTERNALDATE"),
    )


def _bytes(row: dict[bytes, Any], section: str) -> bytes:
    found = row.get(f"BODY[{section}]".encode())
    return found if isinstance(found, bytes) else b""
