"""Combines the vectors of windows into the vectors of texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from semantik_pipeline.builtin.embedders.model_tokenizer import Window


def averaged(vectors: np.ndarray, windows: Sequence[Window], count: int) -> np.ndarray:
    """One vector for each text: the mean of its windows' vectors, weighted by their tokens."""
    if len(windows) == count:
        return vectors
    owners = np.array([window.owner for window in windows])
    weights = np.array([window.tokens for window in windows], dtype=np.float32)
    sums = np.zeros((count, vectors.shape[1]), dtype=np.float32)
    np.add.at(sums, owners, vectors * weights[:, None])
    return sums / np.bincount(owners, weights, count).astype(np.float32)[:, None]


def unit_length(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors to length one; zero vectors stay as they are."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
