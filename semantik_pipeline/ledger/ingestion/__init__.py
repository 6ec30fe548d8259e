"""Ingestion: sources and their schedules, slices of syncs, and the handling of new, changed and vanished documents."""
