"""What a document that is larger than ``max_bytes`` is to a connector."""

from __future__ import annotations

from semantik_pipeline.errors import DocumentUnreadable


def refuse_large(name: str, size: int, limit: int) -> None:
    """Raises DocumentUnreadable if a document has more than ``limit`` bytes: the limit may be raised, and each sync asks
    again. So ask this before the content is read, or a refusal costs as much as the document."""
    if size > limit:
        raise DocumentUnreadable(
            f"{name} has {size:,} bytes; the limit is {limit:,}.",
            "Raise max_bytes in the source's configuration, or exclude the document.",
        )
