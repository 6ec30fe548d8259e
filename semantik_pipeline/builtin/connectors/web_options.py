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
            "description": "URLs where a crawl starts. It stays on the host of each, in its folder and below.",
        },
        "sitemaps": {
            **_URLS,
            "description": "Sitemaps or sitemap indexes (XML, lines, or either as .gz). Only listed pages of the same"
            " host are read; their links are not followed.",
        },
        "max_depth": {
            "type": "integer",
            "minimum": 0,
            "default": 5,
            "description": "Maximum number of links between a start URL and a page; 0 reads only the start URLs.",
        },
        "max_pages": {
            "type": "integer",
            "minimum": 1,
            "maximum": 100_000,
            "default": 10_000,
            "description": "Maximum number of URLs that a crawl requests. It also limits how many are remembered, at"
            " about 50 bytes each.",
        },
        "include": {
            **_GLOBS,
            "description": "Only pages whose path and query match one of these patterns (as in .gitignore) become"
            " documents; others are read for their links.",
        },
        "exclude": {**_GLOBS, "description": "Pages that are not requested (patterns as in .gitignore)."},
        "media_types": {
            "type": "array",
            "items": {"type": "string", "minLength": 1},
            "default": [],
            "description": "Content types that become documents, such as image/*; [] means text, HTML, PDF and office"
            " files.",
        },
        "obey_robots": {
            "type": "boolean",
            "default": True,
            "description": "Obey robots.txt, and pages that ask not to be indexed or followed (noindex, nofollow)."
            " Set it to false only for your own site.",
        },
        "recrawl_days": {
            "type": "number",
            "minimum": 0,
            "default": 7,
            "description": "Days between crawls that start from scratch. The others request the pages of the last"
            " crawl, and read what has changed. Only crawls from scratch notice pages that nothing links to any more.",
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
            "description": "Maximum number of requests per second to one host; a slower Crawl-delay in its robots.txt"
            " takes precedence.",
            "x-operational": True,
        },
        "user_agent": {
            "type": "string",
            "minLength": 1,
            "default": "SemantikPipeline/2",
            "description": "Name that is sent to servers, and looked up in robots.txt.",
            "x-operational": True,
        },
        "timeout": {
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": 60,
            "default": 30,
            "description": "Timeout of a page in seconds, from the first byte sent to the last byte read.",
            "x-operational": True,
        },
        "max_bytes": {
            "type": "integer",
            "minimum": 1,
            "default": 32 * 2**20,
            "description": "Maximum size of a page, in bytes.",
            "x-operational": True,
        },
        "username": {
            "type": "string",
            "description": "User name for HTTP Basic authentication.",
            "x-operational": True,
        },
        "password": {
            "type": "string",
            "secret": True,
            "description": "Password, given as password_env.",
            "x-operational": True,
        },
        "token": {
            "type": "string",
            "secret": True,
            "description": "A bearer token, given as token_env. Credentials are sent only to the hosts of start_urls"
            " and sitemaps.",
            "x-operational": True,
        },
    },
}
