"""What comes in: sources and their schedules, what a sync holds and knows, and what becomes of new, changed and vanished
documents."""
