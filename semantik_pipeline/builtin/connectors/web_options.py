"""The options of the connector ``web``."""

from __future__ import annotations

from typing import Any

_URL = {"type": "string", "pattern": r"^\s*[Hh][Tt][Tt][Pp][Ss]?://[^\s/]"}
_URLS = {"type": "array", "items": _URL, "default": []}
_GLOBS = {"type": "array", "items": {"type": "string"}, "default": []}

#: The media types that are read if ``media_types`` is empty: those that the built-in parsers accept.
MEDIA_TYPES = [
    "text/*",
    "application/xhtml+xml",
    "application/pdf",
    "application/json",
    "application/msword",
    "application/vnd.openxmlformats-officedocument.*",
    "application/vnd.oasis.opendocument.*",
    "application/epub+zip",
    "application/rtf",
]

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "anyOf": [
        {"required": ["start_urls"], "properties": {"start_urls": {"minItems": 1}}},
        {"required": ["sitemaps"], "properties": {"sitemaps": {"minItems": 1}}},
    ],
    "properties": {
        "start_urls": {
            **_URLS,
            "description": "Where a crawl begins. It stays on each one's host, in its folder and below.",
        },
        "sitemaps": {
            **_URLS,
            "description": "Sitemaps or indexes of them (XML, lines, or either as .gz): pages of the same host are read"
            " as listed, their links are not followed.",
        },
        "max_depth": {
            "type": "integer",
            "minimum": 0,
            "default": 5,
            "description": "Links between a start URL and a page; 0 reads the start URLs alone.",
        },
        "max_pages": {
            "type": "integer",
            "minimum": 1,
            "maximum": 100_000,
            "default": 10_000,
            "description": "URLs that one crawl asks for. It also bounds what is remembered: about 50 bytes each.",
        },
        "include": {
            **_GLOBS,
            "description": "Only pages whose path and query match one of these patterns (as in .gitignore) become"
            " documents; others are read for their links.",
        },
        "exclude": {**_GLOBS, "description": "Pages that are not asked for (as in .gitignore)."},
        "media_types": {
            "type": "array",
            "items": {"type": "string", "minLength": 1},
            "default": [],
            "description": "Content types that become documents, such as image/*; [] is text, HTML, PDF and office.",
        },
        "obey_robots": {
            "type": "boolean",
            "default": True,
            "description": "Keep to robots.txt, and to pages that ask not to be indexed or followed (noindex, nofollow). Set"
            " it to false on a site of your own only.",
        },
        "recrawl_days": {
            "type": "number",
            "minimum": 0,
            "default": 7,
            "description": "Days between crawls that remember nothing. The others ask for the pages of last time, and"
            " read what has changed; pages that nothing links to any more are noticed by these.",
            "x-operational": True,
        },
        "allow_private": {
            "type": "boolean",
            "default": False,
            "description": "Also read from addresses that are not on the public internet (loopback, 10.0.0.0/8 …).",
            "x-operational": True,
        },
        "requests_per_second": {
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": 1000,
            "default": 2,
            "description": "To one host; a slower Crawl-delay of its robots.txt counts instead.",
            "x-operational": True,
        },
        "user_agent": {
            "type": "string",
            "minLength": 1,
            "default": "SemantikPipeline/2",
            "description": "The name given to servers, and looked for in robots.txt.",
            "x-operational": True,
        },
        "timeout": {
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": 60,
            "default": 30,
            "description": "Seconds for one page, from the first byte sent to the last byte read.",
            "x-operational": True,
        },
        "max_bytes": {
            "type": "integer",
            "minimum": 1,
            "default": 32 * 2**20,
            "description": "The largest page that is read.",
            "x-operational": True,
        },
        "username": {"type": "string", "description": "For HTTP Basic authentication.", "x-operational": True},
        "password": {"type": "string", "secret": True, "description": "Given as password_env.", "x-operational": True},
        "token": {
            "type": "string",
            "secret": True,
            "description": "A bearer token, given as token_env. Credentials go to the hosts of start_urls and sitemaps.",
            "x-operational": True,
        },
    },
}
