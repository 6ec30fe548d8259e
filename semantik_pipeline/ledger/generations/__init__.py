"""Builds of an index beside the one that search reads: estimated, filled, compared with the store, switched to, retired."""
