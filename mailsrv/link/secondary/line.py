"""One connection to a primary as the front end uses it: what to say on it depends on it.

Secrets are sealed to this connection's primary, so a request is not a frame that is kept and sent
again: it is composed anew for each connection.
"""

from collections.abc import Callable
from typing import Any

import attrs
import msgspec
from twisted.internet.defer import Deferred

from mailsrv.link.sealed import Sealer
from mailsrv.link.wire.connection import LinkConnection
from mailsrv.link.wire.frames import Lent, Operation


class Ask(msgspec.Struct, frozen=True):
    """One call, composed for one line."""

    operation: Operation
    session: str | None = None
    lent: Lent | None = None


@attrs.define(eq=False, init=False)
class Line:
    """A connection, and the numbers used on it."""

    connection: LinkConnection
    sealer: Sealer

    def __init__(self, connection: LinkConnection) -> None:
        self.connection = connection
        self.sealer = Sealer(connection.welcome.public_key, connection.welcome.nonce)

    @property
    def lease_seconds(self) -> float:
        """For how long this primary keeps a key that was lent."""
        return self.connection.welcome.lease_seconds

    def call(self, ask: Ask, timeout: float | None = None) -> Deferred[Any]:
        """As Peer.call."""
        return self.connection.peer.call(ask.operation, ask.session, ask.lent, timeout)


Compose = Callable[[Line], Ask]
"""Makes the call for a line; called once for each connection that the request is sent on."""
