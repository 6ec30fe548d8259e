"""The head of a mail: what a reader wants to know before the body."""

from __future__ import annotations

import email
import email.policy
import io
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MailHead:
    """Any of these may be empty."""

    subject: str = ""
    sender: str = ""
    recipients: str = ""
    date: str = ""

    @property
    def lines(self) -> str:
        named = (("From", self.sender), ("To", self.recipients), ("Date", self.date))
        return "\n".join(f"{name}: {value}" for name, value in named if value)

    @property
    def metadata(self) -> dict[str, str]:
        fields = {"subject": self.subject, "from": self.sender, "to": self.recipients, "date": self.date}
        return {name: value for name, value in fields.items() if value}


def head_of_eml(content: bytes) -> MailHead:
    message = email.message_from_bytes(content, policy=email.policy.default)
    subject, sender, recipients, date = (_one_line(message, name) for name in ("Subject", "From", "To", "Date"))
    return MailHead(subject=subject, sender=sender, recipients=recipients, date=date)


def head_of_msg(content: bytes) -> MailHead:
    from oxmsg import Message

    message = Message.load(io.BytesIO(content))
    return MailHead(
        subject=(message.subject or "").strip(),
        sender=(message.sender or "").strip(),
        recipients=", ".join(recipient.email_address for recipient in message.recipients),
        date=message.sent_date.isoformat() if message.sent_date else "",
    )


def _one_line(message: email.message.EmailMessage, name: str) -> str:
    try:
        value = message[name]
    except (ValueError, IndexError, AttributeError):  # the standard library stumbles over some malformed headers
        return ""
    return " ".join(str(value or "").split())
