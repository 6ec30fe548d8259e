"""Values that this process has read from its environment for plugins. Errors and logs may quote them, and no shape tells
that they are secrets.

What a child process reads there its parent reads too, whenever it asks what the options of the child's plugins are.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable
from urllib.parse import quote, quote_plus, urlsplit

#: Characters below which a value is no secret worth the name, and would be found in every text: ``1``, ``true``.
LEAST = 6

#: Characters below which it is looked for as a word of its own only.
IN_WORDS = 12

#: Values that are kept, each in all its forms; of more, the ones that were read first are forgotten.
MOST = 1000


class KnownSecrets:
    """A bounded set of values. Safe from every thread; reading takes no lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, set[str]] = {}  # value -> its forms, in the order in which they were read
        self._longest_first: tuple[str, ...] = ()

    def add(self, value: str) -> None:
        """Know this value, as it is and as texts quote it. One that is too short is left out."""
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
        """The text, each known value in it replaced."""
        for form in self._longest_first:
            if form in text:
                text = text.replace(form, by) if len(form) >= IN_WORDS else _as_word(form).sub(by, text)
        return text


#: Of this process.
KNOWN = KnownSecrets()


def _as_word(form: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![^\W_]){re.escape(form)}(?![^\W_])")


def _forms(value: str) -> set[str]:
    """The value and its lines, the password of a URL, and each as URLs, JSON and Python's reprs have it."""
    plain = {value.strip(), *map(str.strip, value.splitlines()), *_passwords(value)}
    long_enough = {one for one in plain if len(one) >= LEAST}
    return {form for one in long_enough for form in (one, *_quoted(one))}


def _quoted(value: str) -> Iterable[str]:
    return quote(value, safe=""), quote_plus(value), json.dumps(value)[1:-1], repr(value)[1:-1]


def _passwords(value: str) -> Iterable[str]:
    try:
        return [part for part in (urlsplit(value).password,) if part]
    except ValueError:  # no URL
        return []
