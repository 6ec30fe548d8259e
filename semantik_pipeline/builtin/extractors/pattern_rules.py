"""The rules of the ``patterns`` extractor: sequences of word forms, in spaCy's EntityRuler notation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_DOT, _COMMA, _OF = {"ORTH": ".", "OP": "?"}, {"ORTH": ",", "OP": "?"}, {"ORTH": "of", "OP": "?"}

#: (entity type, its words as forms or as literal token rules). The longest match wins, then the first rule.
RULES: tuple[tuple[str, tuple[str | dict[str, Any], ...]], ...] = (
    ("EMAIL", ("EMAIL",)),
    ("URL", ("URL",)),
    ("DATE", ("DATE",)),
    ("DATE", ("DAY", _OF, "MONTH", _DOT, _COMMA, "YEAR")),
    ("DATE", ("MONTH", _DOT, "DAY", _COMMA, "YEAR")),
    ("DATE", ("MONTH", _DOT, _COMMA, "YEAR")),
    ("DATE", ("DAY", _OF, "MONTH")),
    ("DATE", ("MONTH", "DAY")),
    ("MONEY", ("SUM",)),
    ("MONEY", ("SUM", "SCALE")),
    ("MONEY", ("CURRENCY", "NUMBER")),
    ("MONEY", ("CURRENCY", "NUMBER", "SCALE")),
    ("MONEY", ("NUMBER", "CURRENCY")),
    ("MONEY", ("NUMBER", "SCALE", "CURRENCY")),
    ("VERSION", ("VERSION",)),
    ("VERSION", ("VERSION_WORD", "DECIMAL")),
    ("IDENTIFIER", ("IDENTIFIER",)),
    ("IP", ("IP",)),
    ("PHONE", ("PHONE",)),
    ("PHONE", ("CALLING_CODE", "PHONE_GROUP", "PHONE_GROUP")),
    ("PHONE", ("CALLING_CODE", "PHONE_GROUP", "PHONE_GROUP", "PHONE_GROUP")),
    ("PHONE", ("CALLING_CODE", "PHONE_GROUP", "PHONE_GROUP", "PHONE_GROUP", "PHONE_GROUP")),
)
TYPES = tuple(dict.fromkeys(kind for kind, _ in RULES))


def entity_rules(flags: Mapping[str, str], types: tuple[str, ...] = TYPES) -> list[dict[str, Any]]:
    """The rules for the wanted types; ``flags`` gives the lexeme flag of each form."""
    return [
        {"label": kind, "pattern": [{flags[part]: True} if isinstance(part, str) else dict(part) for part in row]}
        for kind, row in RULES
        if kind in types
    ]
