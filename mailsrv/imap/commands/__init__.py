"""The command table. A further extension is one more module here, or one more row in one."""

from mailsrv.imap.command import Table
from mailsrv.imap.commands import (
    any_state,
    append,
    enable,
    folders,
    idle,
    listing,
    login,
    messages,
    quota,
    search,
    selecting,
)

_MODULES = (
    login,
    any_state,
    enable,
    selecting,
    folders,
    listing,
    append,
    messages,
    search,
    idle,
    quota,
)

TABLE = Table(
    commands={row.name: row for module in _MODULES for row in module.COMMANDS},
    capabilities=tuple(row for module in _MODULES for row in getattr(module, "CAPABILITIES", ())),
)
