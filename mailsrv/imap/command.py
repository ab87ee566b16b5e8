"""What a row of the command table is."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from mailsrv.imap.arguments import Arguments
from mailsrv.imap.reply import Done

if TYPE_CHECKING:
    from mailsrv.imap.session import Session

UNAUTH = "unauth"
AUTH = "auth"
SELECT = "select"

BEFORE_LOGIN = frozenset({UNAUTH})
AFTER_LOGIN = frozenset({AUTH, SELECT})
SELECTED = frozenset({SELECT})
ANY = frozenset({UNAUTH, AUTH, SELECT})


@attrs.frozen
class Command:
    """One command: where it may be used, how it is read, what it does.

    ``parse`` starts at the first argument and refuses what is left over.
    ``name`` of a UID command has two words. ``capability`` is what
    having this row lets the server advertise, wherever the command may be used. ``expunge``
    allows EXPUNGE among the responses to it (rfc3501:4019).
    """

    name: str
    states: frozenset[str]
    parse: Callable[[Arguments], Any]
    handler: Callable[["Session", Any], Awaitable[Done]]
    capability: tuple[str, ...] = ()
    expunge: bool = True


@attrs.frozen
class Capability:
    """Something to advertise that is no command of its own.

    ``names`` gives what holds for a session now, as CAPABILITY spells it.
    """

    names: Callable[["Session"], tuple[str, ...]]


@attrs.frozen
class Table:
    """All commands by name, and what else there is to advertise."""

    commands: Mapping[str, Command]
    capabilities: tuple[Capability, ...]


def nothing(arguments: Arguments) -> None:
    """The parser of commands without arguments."""
    arguments.end()
