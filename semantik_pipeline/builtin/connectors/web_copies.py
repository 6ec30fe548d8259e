"""Copies of pages: which one of several that name each other as their original (``rel=canonical``) is indexed."""

from __future__ import annotations

from collections.abc import Mapping

from semantik_pipeline.builtin.connectors.web_frontier import Entry, Found


def is_indexed(copy: Entry, known: Mapping[str, Entry]) -> bool:
    """Whether a page that names an original is indexed itself. ``known``: what was found at each URL.

    Its original is followed, through redirects and originals of originals. The last page of that chain that could be
    indexed is; of pages that call each other the original, the first by name. While one of them cannot be read, none is:
    it may be the original, and the run proves nothing anyway.
    """
    chain = [copy]
    while (after := known.get(chain[-1].original)) is not None and after not in chain:
        chain.append(after)
    if any(entry.found == Found.FAILED for entry in chain):
        return False
    circle = [entry for entry in chain[chain.index(after) :] if entry.is_readable] if after is not None else []
    chosen = min(circle, key=lambda entry: entry.url) if circle else [entry for entry in chain if entry.is_readable][-1]
    return chosen is copy
