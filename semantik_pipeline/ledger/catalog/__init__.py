"""What there is: collections with their generations and sources, the plugins' configurations, evaluations."""
