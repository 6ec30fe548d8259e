"""How messages and their attachments are named: ``imap://USER@HOST/FOLDER;UID=20`` and ``imap://USER@HOST/FOLDER;UID=20#2``.

After RFC 5092, shortened: the validity of the UIDs is in the change hint, so that a server that numbers its messages
anew costs a read and not a new document for each.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

_NAME = re.compile(r"imap://(?P<account>[^/]*)/(?P<folder>[^;]*);UID=(?P<uid>\d+)(?:#(?P<section>[\d.]+))?")

#: Ports that a name leaves out. Both, so that going over to TLS renames nothing.
STANDARD_PORTS = (143, 993)


def account_name(username: str, host: str, port: int | None) -> str:
    """``USER@HOST``, or ``USER@HOST:PORT`` if the port is not a standard one; the user is percent-encoded."""
    told = f":{port}" if port and port not in STANDARD_PORTS else ""
    return f"{quote(username, safe='')}@{host.lower()}{told}"


@dataclass(frozen=True, kw_only=True)
class MailName:
    """``account`` is what :func:`account_name` says: a server has many mailboxes, with the same folders and UIDs in each.
    ``section`` is the attachment's place in the message, as IMAP counts ("2.1"); "" is the message itself."""

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
        """The name of :attr:`unique_id`; None if it is none."""
        found = _NAME.fullmatch(unique_id)
        if found is None:
            return None
        place = {"account": found["account"], "folder": unquote(found["folder"])}
        return cls(**place, uid=int(found["uid"]), section=found["section"] or "")
