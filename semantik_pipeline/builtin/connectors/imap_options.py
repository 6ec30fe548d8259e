"""The options of the connector ``imap``."""

from __future__ import annotations

from typing import Any

_GLOBS = {"type": "array", "items": {"type": "string", "minLength": 1}}

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["host", "username"],
    "properties": {
        "host": {"type": "string", "minLength": 1, "description": "The name of the IMAP server."},
        "port": {
            "type": "integer",
            "minimum": 1,
            "maximum": 65_535,
            "description": "993 unless it says otherwise; 143 without TLS from the start.",
        },
        "tls": {
            "type": "string",
            "enum": ["on", "starttls", "off"],
            "default": "on",
            "description": "Encrypted from the start, from STARTTLS on, or not at all (the password too).",
            "x-operational": True,
        },
        "ca_file": {
            "type": "string",
            "description": "Certificates (PEM) of an authority of your own.",
            "x-operational": True,
        },
        "username": {"type": "string", "minLength": 1},
        "password": {"type": "string", "secret": True, "description": "Given as password_env.", "x-operational": True},
        "access_token": {
            "type": "string",
            "secret": True,
            "description": "An OAuth 2 token (XOAUTH2) in place of a password, given as access_token_env.",
            "x-operational": True,
        },
        "folders": {**_GLOBS, "default": ["INBOX"], "description": "Names or patterns: INBOX, Archive/*, *."},
        "exclude_folders": {**_GLOBS, "default": [], "description": "Folders to leave out: Trash, */Spam."},
        "since": {
            "type": "string",
            "description": "Only messages that came on this day (2026-01-31) or later.",
        },
        "attachments": {"type": "boolean", "default": True, "description": "Index attachments, on their own."},
        "index_deleted": {
            "type": "boolean",
            "default": False,
            "description": "Keep messages that are flagged as deleted until they are expunged.",
        },
        "max_bytes": {
            "type": "integer",
            "minimum": 1,
            "default": 64 * 2**20,
            "description": "The largest text or attachment that is read.",
            "x-operational": True,
        },
        "timeout": {
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 60,
            "description": "Seconds that the server may be silent.",
            "x-operational": True,
        },
    },
}
