"""Lone surrogates, which file names of no encoding bring: neither tokenizers nor JSON encoders take them."""

from __future__ import annotations


def without_surrogates(text: str) -> str:
    """The text with each lone surrogate replaced by a question mark; others come back as they are."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text
