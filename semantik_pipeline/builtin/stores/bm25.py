"""The BM25 leg: texts to sparse vectors, the same for both stores.

The store's IDF modifier supplies the inverse document frequency; the vectors carry the saturated term frequencies
(Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009). Term ids are Qdrant's own hashes, so vectors
made here fit an index whose server embeds the queries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from semantik_pipeline.errors import UsageError

if TYPE_CHECKING:
    import qdrant_edge

    from semantik_pipeline.documents import IndexSpec

_DIRECT = ("b", "avg_len", "lowercase", "ascii_folding", "min_token_len", "max_token_len")


class Bm25Vectors:
    """``options``: ``k1`` (1.2), ``b`` (0.75), ``avg_len`` (256 terms), ``language`` (``english``; ``none`` neither
    stems nor drops stop words), ``lowercase``, ``ascii_folding``, ``min_token_len``, ``max_token_len``."""

    def __init__(self, options: dict[str, Any]) -> None:
        import qdrant_edge as edge

        unknown = sorted(set(options) - {"k1", "language", *_DIRECT})
        if unknown:
            raise UsageError(f"BM25 has no option {unknown[0]!r}.", f"It has k1, language, {', '.join(_DIRECT)}.")
        arguments = {name: options[name] for name in _DIRECT if name in options}
        if options.get("language") == "none":
            arguments |= {"stemmer": edge.DisabledStemmer(), "stopwords": edge.StopwordsSet(custom=set())}
        elif "language" in options:
            arguments["language"] = options["language"]
        try:
            self._model = edge.Bm25(edge.Bm25Config(k=options.get("k1"), **arguments))
        except (TypeError, ValueError) as error:
            raise UsageError(f"BM25 can't be set up with {options!r}: {error}.") from None

    def document(self, text: str) -> qdrant_edge.SparseVector:
        """Weights of the text's terms; empty for a text without any."""
        return self._model.embed_document(_encodable(text))

    def query(self, text: str) -> qdrant_edge.SparseVector:
        return self._model.embed_query(_encodable(text))


def bm25_of(spec: IndexSpec) -> Bm25Vectors | None:
    """The BM25 leg of an index; None if it has none. Raises UsageError naming an option that can't be."""
    return None if spec.bm25 is None else Bm25Vectors(spec.bm25)


def _encodable(text: str) -> str:
    """The text without lone surrogates, which no engine can index and no query can ask for."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
