"""Prepares the library ``unstructured`` to work without network access and without reporting its usage."""

from __future__ import annotations

import functools
import importlib.util
import os

_QUIET = {"UNSTRUCTURED_DISABLE_NOTICE": "1", "SCARF_NO_ANALYTICS": "true", "DO_NOT_TRACK": "true"}


@functools.cache
def prepare_unstructured() -> None:
    """Call this before using anything of ``unstructured``. Only the first call does something.

    By default, the library prints a notice, reports its usage, and downloads spaCy's ``en_core_web_sm`` to split
    sentences. If that model is not installed, this replaces it by a blank English pipeline with spaCy's rule-based
    sentence splitter.
    """
    os.environ.update({name: value for name, value in _QUIET.items() if name not in os.environ})
    if importlib.util.find_spec("en_core_web_sm") is None:
        from unstructured.nlp import tokenize

        tokenize._get_nlp = _blank_english


@functools.cache
def _blank_english():
    import spacy

    pipeline = spacy.blank("en")
    pipeline.add_pipe("sentencizer")
    return pipeline
