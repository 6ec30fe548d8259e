"""Making the library ``unstructured`` work without a network, and without telling anyone."""

from __future__ import annotations

import functools
import importlib.util
import os

_QUIET = {"UNSTRUCTURED_DISABLE_NOTICE": "1", "SCARF_NO_ANALYTICS": "true", "DO_NOT_TRACK": "true"}


@functools.cache
def prepare_unstructured() -> None:
    """To be called before anything of ``unstructured`` is used; cheap after the first time.

    It would print a notice, report usage, and download spaCy's ``en_core_web_sm`` to tell sentences apart. Where that
    model is not installed, a blank English pipeline with spaCy's rule-based sentence splitter stands in for it.
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
