"""Catalog: collections with their generations and sources, plugin configurations, evaluations."""
