"""Alembic's migrations of the job database; run by `server/migration.py`."""
