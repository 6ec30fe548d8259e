"""Retention: the trash, removal of sources, purging of collections, and expiry of old rows."""
