"""An operator's end of the link: from a command to two primaries, for one move."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from twisted.internet.defer import Deferred

from mailsrv.errors import InvalidInput, Unavailable
from mailsrv.link.moving.mover import Asked, Moved, Mover, Progress
from mailsrv.link.transport.endpoints import client_endpoint
from mailsrv.link.transport.tokens import OPERATOR, Tokens
from mailsrv.link.transport.websocket import connect
from mailsrv.link.wire.connection import LinkConnection
from mailsrv.link.wire.frames import VERSION, Hello, NoteBody, Operation
from mailsrv.link.wire.limits import LinkLimits
from mailsrv.link.wire.served import Received
from mailsrv.settings import Primary

STEP_SECONDS = 120.0
"""Most that one step of a move may take."""

GOODBYE_SECONDS = 2.0


class _Silent:
    """Handler of a side that nothing is asked of."""

    accepts: ClassVar[Mapping[str, type[Operation]]] = {}
    notes: ClassVar[Mapping[str, type[NoteBody]]] = {}

    def called(self, call: Received) -> Deferred[Any]:
        raise InvalidInput(f"operation '{call.operation.name}' is not for an operator")

    def told(self, note: NoteBody) -> None:
        """Nothing is told."""


async def open_link(
    name: str, primary: Primary, limits: LinkLimits, reactor: Any
) -> LinkConnection:
    """A link to the primary of this name. InvalidInput, LinkRefused, Unavailable name it."""
    try:
        token = _token(primary)
        endpoint = client_endpoint(primary, reactor)
        hello = Hello(VERSION, "operator", b"")
        link = await connect(endpoint, token, hello, lambda _: _Silent(), reactor, limits)
    except InvalidInput as error:
        raise InvalidInput(f"link.primaries.{name}: {error}") from None
    except Unavailable as error:
        raise Unavailable(f"primary {name} at {primary.endpoint}: {error}") from None
    if link.welcome.primary != name:
        link.abort("another primary was expected")
        raise Unavailable(
            f"the primary at {primary.endpoint} calls itself {link.welcome.primary}, "
            f"expected {name}"
        )
    return link


async def carry(
    alias: str,
    source: tuple[str, Primary],
    target: tuple[str, Primary],
    limits: LinkLimits,
    reactor: Any,
    report: Callable[[Progress], None],
) -> Moved:
    """Move the mailbox of an alias (ObjectID) between primaries, given by name and address."""
    opened: list[LinkConnection] = []
    try:
        for name, primary in (source, target):
            opened.append(await open_link(name, primary, limits, reactor))
        giving, taking = map(_asked, opened)
        return await Mover(giving, taking, reactor, report).move(alias)
    finally:
        for link in (one for one in opened if not one.closed.called):
            await _close(link, reactor)


async def _close(link: LinkConnection, reactor: Any) -> None:
    """Say goodbye, and see it go out."""
    gone: Deferred[None] = Deferred()

    def ended(reason: Any) -> Any:
        if not gone.called:
            gone.callback(None)
        return reason

    link.closed.addBoth(ended)
    link.close("the move has ended")
    await gone.addTimeout(GOODBYE_SECONDS, reactor, lambda *_: None)


def _asked(link: LinkConnection) -> Asked:
    return lambda operation: link.peer.call(operation, timeout=STEP_SECONDS)


def _token(primary: Primary) -> str:
    if primary.token_file is None:
        raise InvalidInput("token_file: expected the file with the operator's token")
    return Tokens.load(primary.token_file).token(OPERATOR)
