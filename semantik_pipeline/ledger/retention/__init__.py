"""What goes: the trash, removed sources, purged collections, and what is forgotten with time."""
