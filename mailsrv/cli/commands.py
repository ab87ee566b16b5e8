"""Every command of ``mailsrv``, gathered: importing a module adds its commands to the group."""

from mailsrv.cli import (
    aliases,
    demo,
    domains,
    exchange,
    init,
    mailboxes,
    passwords,
    primaries,
    serve,
)
from mailsrv.cli.main import main

__all__ = [
    "aliases",
    "demo",
    "domains",
    "exchange",
    "init",
    "mailboxes",
    "main",
    "passwords",
    "primaries",
    "serve",
]
