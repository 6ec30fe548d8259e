"""BM25: turns texts into sparse vectors, in the same way for both stores.

The store's IDF modifier supplies the inverse document frequency; the vectors carry the saturated term frequencies
(Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009). Term ids are Qdrant's own hashes, so vectors
made here fit an index whose server embeds the queries.

A text's words are stemmed, and its stop words dropped, by the rules of its own language. The language of a query is
unknown, so a query uses the rules of every language in the index, with each term once.

Stemmers need accents (French ``mangée`` becomes ``mang``, ``mangee`` does not), and people leave them out. A word with
an accent is therefore indexed twice: as the stem of the word, and as the stem of its unaccented spelling. A query with
the accent looks for both, each with half the weight; a query without it finds the second.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from semantik_pipeline.builtin.stores.accents import accented, replaced
from semantik_pipeline.builtin.stores.unspaced import in_pairs
from semantik_pipeline.contracts.languages import NONE, language_name, stemmed_as
from semantik_pipeline.documents import SparseVector
from semantik_pipeline.errors import UsageError

if TYPE_CHECKING:
    import qdrant_edge

    from semantik_pipeline.documents import IndexSpec, SearchRequest

_DIRECT = ("b", "avg_len", "lowercase", "ascii_folding", "min_token_len", "max_token_len")
_OURS = ("k1", "language", "by_document", "fold_accents")
_PLAIN_WORD = re.compile(r"[^\W_]+")


class Bm25Vectors:
    """``options``: ``k1`` (1.2), ``b`` (0.75), ``avg_len`` (256 terms), ``language`` (``english``, or its code ``en``;
    ``none`` neither stems nor drops stop words), ``by_document``, ``fold_accents``, ``lowercase``, ``ascii_folding``
    (before words are stemmed), ``min_token_len``, ``max_token_len``.

    With ``by_document``, a text follows the rules of its own language, and ``language`` applies to texts whose language
    is unknown; without it, ``language`` applies to all. Indexes that were created before this option existed lack it,
    and scripts without spaces are not split there. With ``fold_accents``, words are also found without their accents.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        unknown = sorted(set(options) - {*_OURS, *_DIRECT})
        if unknown:
            known = ", ".join((*_OURS, *_DIRECT))
            raise UsageError(f"BM25 has no option {unknown[0]!r}.", f"Its options are {known}.")
        self._options = options
        self._by_document = bool(options.get("by_document"))
        self._in_pairs = "by_document" in options
        self._folds = bool(options.get("fold_accents"))
        self._own = language_name(options.get("language") or "english")
        self._models: dict[str, qdrant_edge.Bm25] = {}
        self._model(self._own)  # raises for invalid options

    def document(self, text: str, language: str | None = None) -> qdrant_edge.SparseVector:
        """Weights of the text's terms; empty if it has none. ``language`` is its ISO 639-1 code."""
        model, text = self._model(self._rules(language)), self._readable(text)
        vector = model.embed_document(text)
        plain = self._without_accents(model, text)
        if not plain:
            return vector
        terms = _weights(vector) | _weights(model.embed_document(replaced(text, plain)))
        return _vector(terms)

    def query(self, text: str, languages: Iterable[str] = ()) -> dict[int, float]:
        """Term -> weight, by the rules of ``language`` and of the other ``languages`` (ISO 639-1 codes)."""
        text = self._readable(text)
        own = self._model(self._own)
        terms = self._asked(own, text)
        others = {self._rules(language) for language in languages} - {self._own}
        if others:
            # In a text of another language, our stop word is a rare word and would outweigh all other words.
            words = dict.fromkeys(_words(text))
            rest = " ".join(word for word in words if own.embed_query(word).indices)
            for name in sorted(others):
                terms = _most(terms, self._asked(self._model(name), rest))
        return terms

    def _asked(self, model: qdrant_edge.Bm25, text: str) -> dict[int, float]:
        terms = _weights(model.embed_query(text))
        plain = self._without_accents(model, text)
        if not plain:
            return terms
        others = _weights(model.embed_query(replaced(text, plain)))
        both = terms.keys() & others.keys()
        return {term: weight if term in both else weight / 2 for term, weight in (terms | others).items()}

    def _without_accents(self, model: qdrant_edge.Bm25, text: str) -> dict[str, str]:
        """Each accented word with its unaccented spelling. Skipped if one is a stop word, which may be another word."""
        found = accented(text) if self._folds else ()
        return {word: plain for word, plain in found if all(model.embed_query(one).indices for one in (word, plain))}

    def stop_words(self, words: Iterable[str], languages: Iterable[str] = ()) -> set[str]:
        """The words that are dropped by the rules of ``language``, or of one of ``languages``."""
        models = [self._model(name) for name in sorted({self._own, *map(self._rules, languages)})]
        return {word for word in words if not all(model.embed_query(self._readable(word)).indices for model in models)}

    def _rules(self, language: str | None) -> str:
        return (stemmed_as(language) if self._by_document else None) or self._own

    def _readable(self, text: str) -> str:
        """Prepare the text for the engine, and replace lone surrogates, which no engine can index."""
        if text.isascii():
            return text
        text = text.encode("utf-8", "replace").decode("utf-8")
        text = unicodedata.normalize("NFC", text) if self._folds else text  # combines accents with their letters
        return in_pairs(text) if self._in_pairs else text

    def _model(self, name: str) -> qdrant_edge.Bm25:
        model = self._models.get(name)
        if model is None:
            model = self._models[name] = _model(self._options, name)
        return model


def bm25_of(spec: IndexSpec) -> Bm25Vectors | None:
    """The BM25 vectors of an index, or None if it has none. Raises UsageError, which names an invalid option."""
    return None if spec.bm25 is None or spec.sparse_vectors else Bm25Vectors(spec.bm25)


def sparse_query(bm25: Bm25Vectors | None, request: SearchRequest) -> SparseVector:
    """The terms of a search leg that is not dense: those of a sparse model, or of BM25."""
    if request.sparse is not None:
        return request.sparse
    assert bm25 is not None  # checks.query_vector has refused a text if there is no BM25,
    assert request.text is not None  # and a leg that is empty
    terms = bm25.query(request.text, request.languages)
    return SparseVector(list(terms), list(terms.values()))


def _model(options: dict[str, Any], language: str) -> qdrant_edge.Bm25:
    import qdrant_edge as edge

    arguments = {name: options[name] for name in _DIRECT if name in options}
    if language == NONE:
        arguments |= {"stemmer": edge.DisabledStemmer(), "stopwords": edge.StopwordsSet(custom=set())}
    else:
        arguments["language"] = language
    try:
        return edge.Bm25(edge.Bm25Config(k=options.get("k1"), **arguments))
    except (TypeError, ValueError) as error:
        raise UsageError(f"BM25 can't be set up with {options!r}: {error}.") from None


def _words(text: str) -> list[str]:
    """Split the text so that no piece is only part of a word. The engine treats some marks and symbols as letters
    (Unicode's "alphabetic"), so here all of them count as letters."""
    if text.isascii():
        return _PLAIN_WORD.findall(text)
    return "".join(char if _may_be_of_a_word(char) else " " for char in text).split()


def _may_be_of_a_word(char: str) -> bool:
    category = unicodedata.category(char)
    return category[0] in "LNM" or category in ("So", "Cn")  # the engine may know more letters than this Unicode


def _most(some: dict[int, float], others: dict[int, float]) -> dict[int, float]:
    """The terms of both, each with its greater weight."""
    return {**some, **{term: max(weight, some.get(term, 0.0)) for term, weight in others.items()}}


def _vector(terms: dict[int, float]) -> qdrant_edge.SparseVector:
    import qdrant_edge as edge

    return edge.SparseVector(indices=list(terms), values=list(terms.values()))


def _weights(vector: qdrant_edge.SparseVector) -> dict[int, float]:
    return dict(zip(vector.indices, vector.values, strict=True))
