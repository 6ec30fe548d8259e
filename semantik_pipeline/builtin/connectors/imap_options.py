"""The options of the connector ``imap``."""

from __future__ import annotations

from typing import Any

_GLOBS = {"type": "array", "items": {"type": "string", "minLength": 1}}

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["host", "username"],
    "properties": {
        "host": {"type": "string", "minLength": 1, "description": "Name of the IMAP server."},
        "port": {
            "type": "integer",
            "minimum": 1,
            "maximum": 65_535,
            "description": "Port (default: 993 if tls is on, otherwise 143).",
        },
        "tls": {
            "type": "string",
            "enum": ["on", "starttls", "off"],
            "default": "on",
            "description": "on encrypts from the start, starttls from STARTTLS on, and off nothing, not even the"
            " password.",
            "x-operational": True,
        },
        "ca_file": {
            "type": "string",
            "description": "PEM file with the certificates of your own authority.",
            "x-operational": True,
        },
        "username": {"type": "string", "minLength": 1},
        "password": {
            "type": "string",
            "secret": True,
            "description": "Password, given as password_env.",
            "x-operational": True,
        },
        "access_token": {
            "type": "string",
            "secret": True,
            "description": "OAuth 2 token (XOAUTH2) instead of a password, given as access_token_env.",
            "x-operational": True,
        },
        "folders": {**_GLOBS, "default": ["INBOX"], "description": "Names or patterns, such as INBOX, Archive/* or *."},
        "exclude_folders": {**_GLOBS, "default": [], "description": "Folders to leave out, such as Trash or */Spam."},
        "since": {
            "type": "string",
            "description": "Only messages received on this date (such as 2026-01-31) or later.",
        },
        "attachments": {"type": "boolean", "default": True, "description": "Index attachments, as separate documents."},
        "index_deleted": {
            "type": "boolean",
            "default": False,
            "description": "Keep messages that are flagged as deleted until they are expunged.",
        },
        "max_bytes": {
            "type": "integer",
            "minimum": 1,
            "default": 64 * 2**20,
            "description": "Maximum size of a text or attachment, in bytes.",
            "x-operational": True,
        },
        "timeout": {
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 60,
            "description": "Seconds to wait for an answer of the server.",
            "x-operational": True,
        },
    },
}
