"""Alembic's environment of the directory and its migrations, run by ``Database.migrate``."""
