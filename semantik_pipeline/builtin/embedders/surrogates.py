"""Replaces lone surrogates, which tokenizers and JSON encoders reject; they come from undecodable file names."""

from __future__ import annotations


def without_surrogates(text: str) -> str:
    """The text with each lone surrogate replaced by a question mark; other texts are returned unchanged."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text
