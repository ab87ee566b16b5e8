"""Two primaries and an operator's link to each, without sockets: for tests of moves."""

import atexit
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import attrs
import msgspec
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.errors import LinkLost, MailsrvError
from mailsrv.link.moving.mover import Moved, Mover, Progress
from mailsrv.link.moving.serving import Operator
from mailsrv.link.wire.frames import Operation, decode_body, encode_body
from mailsrv.link.wire.served import Received
from tests.store.two_volumes import Primary, TwoVolumes


@cache
def template() -> TwoVolumes:
    base = Path(mkdtemp(prefix="mailsrv-moves-"))
    atexit.register(shutil.rmtree, base, ignore_errors=True)
    return TwoVolumes(base).fill()


@attrs.define
class Connection:
    closed: Deferred[str] = attrs.field(factory=Deferred)


@attrs.define(eq=False)
class Link:
    """An operator's link to one primary; everything travels as octets."""

    primary: Primary
    connection: Connection = attrs.field(factory=Connection)
    up: bool = True
    operator: Operator = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.operator = Operator(self.primary.moves(), self.connection)  # type: ignore[arg-type]

    def ask(self, operation: Operation) -> Deferred[Any]:
        if not self.up:
            return fail(LinkLost("the link went away"))
        asked = decode_body(type(operation), encode_body(operation))
        try:
            answer = self.operator.called(Received(asked, None, None))
        except MailsrvError as error:
            return fail(error)
        return answer.addCallback(
            lambda result: msgspec.msgpack.decode(encode_body(result), type=operation.answer)
        )

    def lose(self) -> None:
        """The link breaks; the primary hears of it."""
        if self.up:
            self.up = False
            self.connection.closed.callback("lost")

    def die(self) -> None:
        """The primary is killed: nothing in its memory does anything any more."""
        self.up = False


class MoveCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = template().copy(Path(self.mktemp()))
        self.addCleanup(self.world.directory.close)
        self.a, self.b = Link(self.world.a), Link(self.world.b)
        self.progress: list[Progress] = []

    def moving(self, source: Any = None, target: Any = None) -> Deferred[Moved]:
        mover = Mover(source or self.a.ask, target or self.b.ask, Clock(), self.progress.append)
        return Deferred.fromCoroutine(mover.move(self.world.alias))

    def move(self) -> Moved:
        return self.successResultOf(self.moving())

    def fails(self, error: type[Exception], asked: Deferred[Any]) -> Exception:
        return self.failureResultOf(asked, error).value  # type: ignore[return-value]

    def states(self) -> dict[str, tuple[str, str]]:
        found = self.world.directory.mailbox_files(self.world.alias)
        return {one.id: (one.state, one.primary) for one in found}
