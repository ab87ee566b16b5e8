"""Accounts, domains, aliases, credentials and quotas, in SQLite or PostgreSQL."""
