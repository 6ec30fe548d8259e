"""The BM25 leg: texts to sparse vectors, the same for both stores.

The store's IDF modifier supplies the inverse document frequency; the vectors carry the saturated term frequencies
(Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009). Term ids are Qdrant's own hashes, so vectors
made here fit an index whose server embeds the queries.

Words are stemmed, and stop words dropped, by the rules of a text's own language. Nobody knows a query's: it is asked by
the rules of every language that the index has, each term once.

Stemmers need accents (French ``mangée`` is ``mang``, ``mangee`` is not), and people leave them out. So a word with an
accent is indexed as it stands and without: its stem, and the stem of what is left. Who asks for it asks for both, each
counting half; who types it without finds it by the second.
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

    With ``by_document`` a text of another language follows that language's rules, and ``language`` is for those whose
    own nobody knows; without, all follow ``language``. An index from before there was that option has none, and splits
    no script that is written without spaces. With ``fold_accents`` words are found without their accents, too.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        unknown = sorted(set(options) - {*_OURS, *_DIRECT})
        if unknown:
            known = ", ".join((*_OURS, *_DIRECT))
            raise UsageError(f"BM25 has no option {unknown[0]!r}.", f"It has {known}.")
        self._options = options
        self._by_document = bool(options.get("by_document"))
        self._in_pairs = "by_document" in options
        self._folds = bool(options.get("fold_accents"))
        self._own = language_name(options.get("language") or "english")
        self._models: dict[str, qdrant_edge.Bm25] = {}
        self._model(self._own)  # wrong options are refused here

    def document(self, text: str, language: str | None = None) -> qdrant_edge.SparseVector:
        """Weights of the text's terms; empty for a text without any. ``language`` is its ISO 639-1 code."""
        model, text = self._model(self._rules(language)), self._readable(text)
        vector = model.embed_document(text)
        plain = self._without_accents(model, text)
        if not plain:
            return vector
        terms = _weights(vector) | _weights(model.embed_document(replaced(text, plain)))
        return _vector(terms)

    def query(self, text: str, languages: Iterable[str] = ()) -> dict[int, float]:
        """Term -> weight, by the rules of ``language`` and of these others (ISO 639-1 codes)."""
        text = self._readable(text)
        own = self._model(self._own)
        terms = self._asked(own, text)
        others = {self._rules(language) for language in languages} - {self._own}
        if others:
            # In a text of another language a stop word of ours is a rare word, and would count more than all others.
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
        """Each word with an accent, and the same without; neither is a stop word, which may be another word."""
        found = accented(text) if self._folds else ()
        return {word: plain for word, plain in found if all(model.embed_query(one).indices for one in (word, plain))}

    def stop_words(self, words: Iterable[str], languages: Iterable[str] = ()) -> set[str]:
        """Those of the words that are left out by the rules of ``language``, or of one of these others."""
        models = [self._model(name) for name in sorted({self._own, *map(self._rules, languages)})]
        return {word for word in words if not all(model.embed_query(self._readable(word)).indices for model in models)}

    def _rules(self, language: str | None) -> str:
        return (stemmed_as(language) if self._by_document else None) or self._own

    def _readable(self, text: str) -> str:
        """The text as the engine can split it, without lone surrogates, which no engine can index."""
        if text.isascii():
            return text
        text = text.encode("utf-8", "replace").decode("utf-8")
        text = unicodedata.normalize("NFC", text) if self._folds else text  # an accent may be a character of its own
        return in_pairs(text) if self._in_pairs else text

    def _model(self, name: str) -> qdrant_edge.Bm25:
        model = self._models.get(name)
        if model is None:
            model = self._models[name] = _model(self._options, name)
        return model


def bm25_of(spec: IndexSpec) -> Bm25Vectors | None:
    """The BM25 leg of an index; None if it has none. Raises UsageError naming an option that can't be."""
    return None if spec.bm25 is None or spec.sparse_vectors else Bm25Vectors(spec.bm25)


def sparse_query(bm25: Bm25Vectors | None, request: SearchRequest) -> SparseVector:
    """The terms of a leg that is no dense one: a model's, or BM25's."""
    if request.sparse is not None:
        return request.sparse
    assert bm25 is not None  # checks.query_vector refuses a text where there is no BM25 leg,
    assert request.text is not None  # and a leg that is nothing
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
    """The text in pieces, of which none has a part of a word only. To the engine some marks and symbols are letters
    (Unicode's "alphabetic"), so here all are."""
    if text.isascii():
        return _PLAIN_WORD.findall(text)
    return "".join(char if _may_be_of_a_word(char) else " " for char in text).split()


def _may_be_of_a_word(char: str) -> bool:
    category = unicodedata.category(char)
    return category[0] in "LNM" or category in ("So", "Cn")  # the engine may know letters that this Unicode has not


def _most(some: dict[int, float], others: dict[int, float]) -> dict[int, float]:
    """The terms of both, each with its greater weight."""
    return {**some, **{term: max(weight, some.get(term, 0.0)) for term, weight in others.items()}}


def _vector(terms: dict[int, float]) -> qdrant_edge.SparseVector:
    import qdrant_edge as edge

    return edge.SparseVector(indices=list(terms), values=list(terms.values()))


def _weights(vector: qdrant_edge.SparseVector) -> dict[int, float]:
    return dict(zip(vector.indices, vector.values, strict=True))
