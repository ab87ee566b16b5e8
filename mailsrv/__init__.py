"""mailsrv: a mail server whose every mailbox is an encrypted SQLite file."""

__version__ = "0.1.0"
