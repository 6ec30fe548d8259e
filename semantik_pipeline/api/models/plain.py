"""Types for values that callers send and the ledger stores. They refuse what cannot be stored: databases do not accept
NUL characters, and JSON has no NaN and no unpaired surrogates (halves of a character)."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import Path
from pydantic import AfterValidator, StringConstraints

from semantik_pipeline.stages.parsing import MOST_LEVELS

_NO_NUL = r"^[^\x00]*$"


def _storable(options: dict[str, Any]) -> dict[str, Any]:
    _check_inside(options)
    try:
        json.dumps(options, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        raise ValueError("it contains what JSON cannot represent: NaN, an infinity, or an unpaired surrogate") from None
    return options


def _check_inside(options: dict[str, Any]) -> None:
    """Raise ValueError for NUL characters and for more than MOST_LEVELS levels. It does not use recursion, so that no
    value is too deep for it."""
    left: list[tuple[Any, int]] = [(options, 1)]
    while left:
        one, level = left.pop()
        if isinstance(one, str):
            if "\x00" in one:
                raise ValueError("it contains a NUL character")
        elif isinstance(one, dict | list):
            if level > MOST_LEVELS:
                raise ValueError(f"it has more than {MOST_LEVELS} levels of objects and lists")
            left += [(inner, level + 1) for inner in ((*one, *one.values()) if isinstance(one, dict) else one)]


def _whole(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("it contains an unpaired surrogate") from None
    return text


#: Refuses unpaired surrogates. Only JSON bodies can contain them, as escapes.
_Whole = AfterValidator(_whole)

#: A line of text for people.
Line = Annotated[str, StringConstraints(min_length=1, max_length=2000, pattern=_NO_NUL), _Whole]
#: A name of a collection, a connector or a key.
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_NO_NUL), _Whole]
#: A name in a path.
NameInPath = Annotated[str, Path(min_length=1, max_length=200, pattern=_NO_NUL)]
#: A query parameter that filters a list.
FilterText = Annotated[str, StringConstraints(max_length=2000, pattern=_NO_NUL)]
#: Options of a plugin or a collection.
Options = Annotated[dict[str, Any], AfterValidator(_storable)]
