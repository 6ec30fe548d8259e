"""The Celery side: the app, its tasks, and the workers, which run as separate processes or inside another process."""
