"""How messages and their attachments are named: ``imap://HOST/FOLDER;UID=20`` and ``imap://HOST/FOLDER;UID=20#2``.

After RFC 5092, shortened: the validity of the UIDs is in the change hint, so that a server that numbers its messages
anew costs a read and not a new document for each.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

_NAME = re.compile(r"imap://[^/]*/(?P<folder>[^;]*);UID=(?P<uid>\d+)(?:#(?P<section>[\d.]+))?")


@dataclass(frozen=True, kw_only=True)
class MailName:
    """``section`` is the attachment's place in the message, as IMAP counts ("2.1"); "" is the message itself."""

    host: str
    folder: str
    uid: int
    section: str = ""

    @property
    def unique_id(self) -> str:
        name = f"imap://{self.host.lower()}/{quote(self.folder)};UID={self.uid}"
        return f"{name}#{self.section}" if self.section else name

    @classmethod
    def parse(cls, unique_id: str, host: str) -> MailName | None:
        """The name of :attr:`unique_id`; None if it is none."""
        found = _NAME.fullmatch(unique_id)
        if found is None:
            return None
        return cls(host=host, folder=unquote(found["folder"]), uid=int(found["uid"]), section=found["section"] or "")
