"""Generations: estimating, building and comparing a new index beside the active one, switching to it, retiring it."""
