"""The refusal of documents larger than ``max_bytes``, for connectors."""

from __future__ import annotations

from semantik_pipeline.errors import DocumentUnreadable


def refuse_large(name: str, size: int, limit: int) -> None:
    """Raise DocumentUnreadable if a document has more than ``limit`` bytes.

    Each sync tries such a document again, because the limit may have been raised. Therefore, call this before the
    content is read; otherwise every refusal is as expensive as the document.
    """
    if size > limit:
        raise DocumentUnreadable(
            f"{name} has {size:,} bytes; the limit is {limit:,}.",
            "Raise max_bytes in the source's configuration, or exclude the document.",
        )
