"""Every command of ``mailsrv``, gathered: importing a module adds its commands to the group."""

from mailsrv.cli import (
    aliases,
    backups,
    buckets,
    demo,
    directories,
    domains,
    exchange,
    init,
    mailboxes,
    passwords,
    primaries,
    restore,
    serve,
    undelete,
)
from mailsrv.cli.main import main

__all__ = [
    "aliases",
    "backups",
    "buckets",
    "demo",
    "directories",
    "domains",
    "exchange",
    "init",
    "mailboxes",
    "main",
    "passwords",
    "primaries",
    "restore",
    "serve",
    "undelete",
]
