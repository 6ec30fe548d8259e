"""Documents: their chunks and cached results, their words, and queries by which people and searches find them."""
