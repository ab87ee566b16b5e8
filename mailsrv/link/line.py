"""One connection to a primary as the front end uses it: what to say on it depends on it.

Secrets are sealed to this connection's primary, so a request is not a frame that is kept and sent
again: it is composed anew for each connection.
"""

from collections.abc import Callable
from typing import Any, Protocol

import attrs
import msgspec
from twisted.internet.defer import Deferred

from mailsrv.link.frames import Lent, Operation, Welcome
from mailsrv.link.peer import Peer
from mailsrv.link.sealed import Sealer


class Connection(Protocol):
    """What is needed of a ``LinkConnection``."""

    peer: Peer
    welcome: Welcome
    closed: Deferred[str]

    def close(self, sentence: str) -> None:
        """Say why, and close."""

    def abort(self) -> None:
        """Close without a word."""


class Ask(msgspec.Struct, frozen=True):
    """One call, composed for one line."""

    operation: Operation
    session: str | None = None
    lent: Lent | None = None


@attrs.define(eq=False, init=False)
class Line:
    """A connection, and the numbers used on it."""

    connection: Connection
    sealer: Sealer

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.sealer = Sealer(connection.welcome.public_key, connection.welcome.nonce)

    @property
    def lease_seconds(self) -> float:
        """For how long this primary keeps a key that was lent."""
        return self.connection.welcome.lease_seconds

    def call(self, ask: Ask) -> Deferred[Any]:
        """As Peer.call."""
        return self.connection.peer.call(ask.operation, ask.session, ask.lent)


Compose = Callable[[Line], Ask]
"""Makes the call for a line; called once for each connection that the request is sent on."""
