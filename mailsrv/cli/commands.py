"""Every command of ``mailsrv``, gathered: importing a module adds its commands to the group."""

from mailsrv.cli import (
    aliases,
    backups,
    buckets,
    demo,
    domains,
    init,
    mailboxes,
    passwords,
    primaries,
    serve,
)
from mailsrv.cli.main import main

__all__ = [
    "aliases",
    "backups",
    "buckets",
    "demo",
    "domains",
    "init",
    "mailboxes",
    "main",
    "passwords",
    "primaries",
    "serve",
]
