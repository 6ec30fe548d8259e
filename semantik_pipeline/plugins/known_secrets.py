"""Secret values that this process has read from its environment for plugins, to remove them from errors and logs.

Such a value need not have the recognizable shape of a credential. The parent of a child process also knows the values
that the child reads, because the parent computes the options of the child's plugins.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable
from urllib.parse import quote, quote_plus, urlsplit

#: Minimum length in characters; shorter values such as ``1`` or ``true`` are ignored, because every text has them.
LEAST = 6

#: Values shorter than this many characters are replaced only where they are separate words.
IN_WORDS = 12

#: Maximum number of values, each kept in all its forms; beyond that, the values read first are dropped.
MOST = 1000


class KnownSecrets:
    """A bounded set of secret values. Thread-safe; reading takes no lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, set[str]] = {}  # value -> its forms, oldest first
        self._longest_first: tuple[str, ...] = ()

    def add(self, value: str) -> None:
        """Add a value in all the forms in which a text may quote it. A value that is too short is ignored."""
        if value in self._values:
            return
        found = _forms(value)
        if not found:
            return
        with self._lock:
            self._values[value] = found
            for first in list(self._values)[:-MOST]:
                del self._values[first]
            forms = set().union(*self._values.values())
            self._longest_first = tuple(sorted(forms, key=lambda form: (-len(form), form)))

    def replaced(self, text: str, by: str) -> str:
        """Return the text with each known value replaced."""
        for form in self._longest_first:
            if form in text:
                text = text.replace(form, by) if len(form) >= IN_WORDS else _as_word(form).sub(by, text)
        return text


#: The secrets known to this process.
KNOWN = KnownSecrets()


def _as_word(form: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![^\W_]){re.escape(form)}(?![^\W_])")


def _forms(value: str) -> set[str]:
    """Return the value, its lines and a URL's password, each plain and as URLs, JSON and Python's repr encode it."""
    plain = {value.strip(), *map(str.strip, value.splitlines()), *_passwords(value)}
    long_enough = {one for one in plain if len(one) >= LEAST}
    return {form for one in long_enough for form in (one, *_quoted(one))}


def _quoted(value: str) -> Iterable[str]:
    return quote(value, safe=""), quote_plus(value), json.dumps(value)[1:-1], repr(value)[1:-1]


def _passwords(value: str) -> Iterable[str]:
    try:
        return [part for part in (urlsplit(value).password,) if part]
    except ValueError:  # not a URL
        return []
