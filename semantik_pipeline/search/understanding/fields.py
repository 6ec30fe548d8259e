"""Turns ``field:value`` into conditions of the filter language. Pure; only ``path:`` needs the ledger."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from semantik_pipeline.contracts.filter_bounds import instant
from semantik_pipeline.contracts.filters import is_key
from semantik_pipeline.contracts.media_names import by_name
from semantik_pipeline.spelling import forms

Condition = dict[str, Any]

#: The names of fields, and prefixes of further ones: ``metadata.team``, ``entities.ORG``.
FIELDS = ("source", "type", "language", "path", "title", "author", "keyword", "after", "before")
FAMILIES = ("metadata.", "entities.")

#: A document has one value of these fields, so if they are given twice, one must match. Of other fields, all must
#: match.
EITHER = frozenset({"source", "type", "language", "path"})

#: Fields that match by words which BM25 indexes with a chunk.
READ = frozenset({"title"})

#: The field with patterns of documents' paths. The ledger resolves them, because the index can't match patterns.
PATH = "path"

_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[a-z0-9]{2,8})*", re.IGNORECASE)
_MEDIA_TYPE = re.compile(r"[a-z]+/[a-z0-9.+-]+", re.IGNORECASE)
_INTEGER = re.compile(r"-?\d{1,18}")
#: Engines compare ranges as floating-point numbers, which represent each integer up to this one exactly.
_EXACT = 2**53 - 1
_YEAR_OR_MONTH = re.compile(r"\d{4}(-\d{2})?")
_TOKEN = re.compile(r"[^\W_]")
_UNQUOTED = re.compile(r"[A-Za-z0-9_-]+")

#: Common names of file types that have several extensions or another extension.
TYPES = {
    "text": ("txt", "text"),
    "markdown": ("md", "markdown"),
    "html": ("html", "htm"),
    "word": ("docx", "doc"),
    "excel": ("xlsx", "xls"),
    "powerpoint": ("pptx", "ppt"),
    "mail": ("eml", "msg"),
    "python": ("py", "pyi"),
    "javascript": ("js", "mjs", "cjs", "jsx"),
    "typescript": ("ts", "tsx"),
}

#: The payload fields where connectors put a document's author.
AUTHORS = ("metadata.author", "metadata.authors", "metadata.commit_author", "metadata.from")


def condition_of(name: str, value: str) -> Condition | None:
    """Return the condition for a field and a value; None if the field can't have the value."""
    for family, made in _FAMILY.items():
        if name.startswith(family):
            return made(name, value)
    return _FIELD[name](value)


def wanted(name: str) -> str:
    """Return a description of the values that a field takes, for a warning."""
    return _WANTED.get(name, "words")


def phrase(keys: tuple[str, ...], words: str) -> Condition:
    """Return the condition that one of the keys contains these words in this order, in any Unicode form."""
    found = [{"key": key, "match": {"phrase": form}} for key in keys for form in forms(words)]
    return found[0] if len(found) == 1 else {"should": found}


def _source(value: str) -> Condition:
    return _either([{"key": "source", "match": {"value": value}}, {"key": "source_type", "match": {"value": value}}])


def _type(value: str) -> Condition | None:
    value = value.lower().removeprefix(".")
    if _MEDIA_TYPE.fullmatch(value):
        return {"key": "media_type", "match": {"value": value}}
    extensions = [f".{one}" for one in TYPES.get(value, (value,))]
    types = sorted({known for one in extensions if (known := by_name(f"a{one}")) is not None})
    if not types:
        return None
    by_extension = {"key": "metadata.extension", "match": {"any": extensions}}
    return _either([{"key": "media_type", "match": {"any": types}}, by_extension])


def _language(value: str) -> Condition | None:
    value = value.lower()
    codes = list(dict.fromkeys([value, value.partition("-")[0]]))
    return {"key": "language", "match": {"any": codes}} if _LANGUAGE.fullmatch(value) else None


def _words_in(*keys: str) -> Callable[[str], Condition | None]:
    return lambda value: phrase(keys, value) if _TOKEN.search(value) else None


def _keyword(value: str) -> Condition:
    return _either([{"key": "keywords", "match": {"value": form}} for form in forms(value)])


def _time(bound: str) -> Callable[[str], Condition | None]:
    def made(value: str) -> Condition | None:
        if _YEAR_OR_MONTH.fullmatch(value):
            value = f"{value}-01-01"[:10]
        try:
            instant(value)
        except ValueError:
            return None
        return {"key": "modified", "range": {bound: value}}

    return made


def _metadata(name: str, value: str) -> Condition | None:
    """Return the condition for exactly this value: as text, and as the number or boolean that it may represent."""
    name = _key(name)
    if not is_key(name):
        return None
    conditions: list[Condition] = [{"key": name, "match": {"value": form}} for form in forms(value)]
    if _INTEGER.fullmatch(value):
        conditions.append({"key": name, "match": {"value": int(value)}})
        if abs(int(value)) <= _EXACT:  # a match with 5 does not find 5.0
            conditions.append({"key": name, "range": {"gte": int(value), "lte": int(value)}})
    elif value.lower() in ("true", "false"):
        conditions.append({"key": name, "match": {"value": value.lower() == "true"}})
    elif (number := _number(value)) is not None:
        conditions.append({"key": name, "range": {"gte": number, "lte": number}})
    return _either(conditions)


def _entities(name: str, value: str) -> Condition | None:
    name = _key(name)
    return phrase((name,), value) if is_key(name) and _TOKEN.search(value) else None


def _key(name: str) -> str:
    """Return the name as a key of a payload, with quotes around parts that have other letters than ASCII."""
    return ".".join(part if not part or _UNQUOTED.fullmatch(part) else f'"{part}"' for part in name.split("."))


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None


def _either(conditions: list[Condition]) -> Condition:
    return conditions[0] if len(conditions) == 1 else {"should": conditions}


_FIELD: dict[str, Callable[[str], Condition | None]] = {
    "source": _source,
    "type": _type,
    "language": _language,
    "title": _words_in("title"),
    "author": _words_in(*AUTHORS),
    "keyword": _keyword,
    "after": _time("gte"),
    "before": _time("lt"),
}
_FAMILY: dict[str, Callable[[str, str], Condition | None]] = {"metadata.": _metadata, "entities.": _entities}
_WANTED = {
    "type": "a file's extension, a media type, or one of " + ", ".join(TYPES),
    "language": "a code such as en or de",
    "after": "a date such as 2025, 2025-01 or 2025-01-31",
    "before": "a date such as 2025, 2025-01 or 2025-01-31",
}
