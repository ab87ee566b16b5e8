"""Backups of mailboxes, restoring them, and taking mail away and bringing it."""
