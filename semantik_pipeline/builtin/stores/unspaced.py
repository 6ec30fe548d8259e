"""Prepares scripts without spaces between words for an engine that splits at spaces. Pure functions.

Each run of such characters is replaced by its overlapping pairs. This needs no dictionary, and a query is split exactly
as a text is, whatever surrounds it. (Dictionaries split "図書館" on its own differently than in a sentence.) A word
then matches where all its pairs occur.
"""

from __future__ import annotations

import re

#: Thai, Lao, Tibetan, Burmese, Hangul's letters, Khmer; Han, kana and Hangul with their extensions.
RUN = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u3105-\u318f"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]+"
)


def in_pairs(text: str) -> str:
    """The text with each run of such characters replaced by pairs with spaces between them: ``図書館`` becomes
    ``図書 書館``. A single character stays single; all other text is unchanged."""
    return RUN.sub(_paired, text)


def _paired(run: re.Match[str]) -> str:
    found = run.group()
    pairs = [found[at : at + 2] for at in range(len(found) - 1)] or [found]
    return f" {' '.join(pairs)} "
