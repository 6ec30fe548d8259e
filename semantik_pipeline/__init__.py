"""Semantik Pipeline: keep a hybrid search index in step with your documents."""

__version__ = "2.0.0.dev0"
