"""When, where, how often: the Celery app, its hooks and thin tasks.  Celery lives here and nowhere else."""
