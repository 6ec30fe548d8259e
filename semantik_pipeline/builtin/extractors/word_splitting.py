"""A spaCy tokenizer that splits at white space and then removes the punctuation around each word.

An address, a date or a version is thus one token; spaCy's own rules split them differently in every language.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokenizer import Tokenizer

_PREFIX = re.compile(r"""[(\[{<>"'“”‘’«»„*_`|,;:!?=~]+|\.\.+|[—–…]|[\u3000-\u9fff\uac00-\ud7af\uff00-\uffef]+""")
_SUFFIX = re.compile(r"""(?:[)\]}<>"'“”‘’«»*_`|,;:!?=~.…—–。、，！？；：）」』】])$""")
_INFIX = re.compile(
    r"""\]\(|[<>"“”|`]+|[—…]|(?<=[A-Za-z]):(?=[\w.+-]+@)|=(?=https?:)|,(?=[^\s\d])|"""
    r"""[\u3000-\u9fff\uac00-\ud7af\uff00-\uffef]+"""
)
_WHOLE = re.compile(r"https?://[^\s()<>\"]*\([^\s()]*\)[^\s()<>\"]*(?<![.,;:!?])")  # a URL may contain (…)


def word_tokenizer(nlp: Language) -> Tokenizer:
    """A tokenizer to use as a blank pipeline's ``nlp.tokenizer``."""
    from spacy.tokenizer import Tokenizer

    return Tokenizer(
        nlp.vocab,
        prefix_search=_PREFIX.match,
        suffix_search=_SUFFIX.search,
        infix_finditer=_INFIX.finditer,
        token_match=_WHOLE.fullmatch,
    )
