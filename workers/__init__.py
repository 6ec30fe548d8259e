"""The Celery side: the app, its one task, and workers, in a process of their own or inside this one."""
