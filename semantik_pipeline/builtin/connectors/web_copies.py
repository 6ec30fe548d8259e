"""Copies of pages: decides which of several pages that name an original (``rel=canonical``) is indexed."""

from __future__ import annotations

from collections.abc import Mapping

from semantik_pipeline.builtin.connectors.web_frontier import Entry, Found


def is_indexed(copy: Entry, known: Mapping[str, Entry]) -> bool:
    """Whether a page that names an original is indexed itself. ``known`` maps each URL to what was found there.

    The chain of originals is followed, through redirects and originals of originals. The last page of the chain that
    can be indexed is indexed. If pages name each other as the original, the first URL in alphabetical order is indexed.
    While a page of the chain cannot be read, none is indexed, because that page may be the original; such a run removes
    nothing anyway.
    """
    chain = [copy]
    while (after := known.get(chain[-1].original)) is not None and after not in chain:
        chain.append(after)
    if any(entry.found == Found.FAILED for entry in chain):
        return False
    circle = [entry for entry in chain[chain.index(after) :] if entry.is_readable] if after is not None else []
    chosen = min(circle, key=lambda entry: entry.url) if circle else [entry for entry in chain if entry.is_readable][-1]
    return chosen is copy
