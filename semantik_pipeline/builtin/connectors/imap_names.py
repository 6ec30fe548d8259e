"""The ids of messages and attachments: ``imap://USER@HOST/FOLDER;UID=20`` and ``imap://USER@HOST/FOLDER;UID=20#2``.

They follow RFC 5092, without the UIDVALIDITY. That is in the change hint instead, so that a server that renumbers its
messages causes a read of each message and not a new document for each.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

_NAME = re.compile(r"imap://(?P<account>[^/]*)/(?P<folder>[^;]*);UID=(?P<uid>\d+)(?:#(?P<section>[\d.]+))?")

#: Ports that an id leaves out. These are both standard ports, so that a switch to TLS does not change the ids.
STANDARD_PORTS = (143, 993)


def account_name(username: str, host: str, port: int | None) -> str:
    """``USER@HOST``, or ``USER@HOST:PORT`` if the port is not a standard one. The user is percent-encoded."""
    told = f":{port}" if port and port not in STANDARD_PORTS else ""
    return f"{quote(username, safe='')}@{host.lower()}{told}"


@dataclass(frozen=True, kw_only=True)
class MailName:
    """The id of a message or attachment. ``account`` is the result of :func:`account_name`; it is needed because a
    server has many mailboxes with the same folders and UIDs. ``section`` is the attachment's place in the message, as
    IMAP counts ("2.1"); it is empty for the message itself."""

    account: str
    folder: str
    uid: int
    section: str = ""

    @property
    def unique_id(self) -> str:
        name = f"imap://{self.account}/{quote(self.folder)};UID={self.uid}"
        return f"{name}#{self.section}" if self.section else name

    @classmethod
    def parse(cls, unique_id: str) -> MailName | None:
        """Parse a :attr:`unique_id`; None if it is not valid."""
        found = _NAME.fullmatch(unique_id)
        if found is None:
            return None
        place = {"account": found["account"], "folder": unquote(found["folder"])}
        return cls(**place, uid=int(found["uid"]), section=found["section"] or "")
