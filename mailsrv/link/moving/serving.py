"""What an operator may ask of a primary: to give a mailbox to another, a step at a time.

The mover (``mover``) has a link to both primaries. What was begun over a link ends with it: the
hold on the mailbox, the copy that nobody completed. See ``store.moving`` for who may die when.
"""

from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any, ClassVar

import attrs
import msgspec
from msgspec import Meta
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from mailsrv.errors import InvalidInput, MailsrvError, Unavailable
from mailsrv.link.wire.connection import LinkConnection
from mailsrv.link.wire.frames import NoteBody, Operation
from mailsrv.link.wire.served import Received
from mailsrv.mailbox.blocks import BLOCK
from mailsrv.mailbox.waiting import WaitingEntry, WaitingRow
from mailsrv.store.arriving import Target
from mailsrv.store.interfaces import IFrozen
from mailsrv.store.moving import Moves, Part, Sizes, Source
from mailsrv.store.workers import log_unexpected

DIGESTS_AT_ONCE = 64
LISTED_AT_ONCE = 2000
LONGEST_PATIENCE = 30.0

ObjectId = Annotated[str, Meta(pattern=r"\A[0-9a-f]{24}\Z")]
Number = Annotated[int, Meta(ge=0, le=2**40)]
Count = Annotated[int, Meta(ge=1, le=DIGESTS_AT_ONCE)]
Block = Annotated[bytes, Meta(min_length=1, max_length=BLOCK)]
Digest = Annotated[bytes, Meta(min_length=32, max_length=32)]
Ids = Annotated[list[str], Meta(max_length=LISTED_AT_ONCE)]


# Of the primary that has the mailbox


class MoveOpened(msgspec.Struct, frozen=True):
    """The current file."""

    mailbox: str
    sizes: Sizes


class MoveOpen(Operation, frozen=True):
    """Begin to give the mailbox of an alias away."""

    name: ClassVar[str] = "move_open"
    answer: ClassVar[Any] = MoveOpened
    alias: ObjectId


class MoveSizes(Operation, frozen=True):
    """Octets at this moment."""

    name: ClassVar[str] = "move_sizes"
    answer: ClassVar[Any] = Sizes


class MoveRead(Operation, frozen=True):
    """One block."""

    name: ClassVar[str] = "move_read"
    answer: ClassVar[Any] = bytes
    part: Part
    number: Number


class MoveDigests(Operation, frozen=True):
    """SHA-256 of each of so many blocks."""

    name: ClassVar[str] = "move_digests"
    answer: ClassVar[Any] = list[bytes]
    part: Part
    first: Number
    count: Count


class MoveWaiting(Operation, frozen=True):
    """What waits for the owner, from behind an id on."""

    name: ClassVar[str] = "move_waiting"
    answer: ClassVar[Any] = list[WaitingEntry]
    aside: bool
    after: str


class MoveRows(Operation, frozen=True):
    """Sealed messages by id."""

    name: ClassVar[str] = "move_rows"
    answer: ClassVar[Any] = list[WaitingRow]
    aside: bool
    ids: Ids


class MoveFreeze(Operation, frozen=True):
    """Hold the mailbox still, until ``MoveClose`` or the end of the link or of its time."""

    name: ClassVar[str] = "move_freeze"
    answer: ClassVar[Any] = Sizes
    patience: Annotated[float, Meta(ge=0, le=LONGEST_PATIENCE)]


class MoveSeal(Operation, frozen=True):
    """The digest that the copy must have, of what was read since ``MoveFreeze``."""

    name: ClassVar[str] = "move_seal"
    answer: ClassVar[Any] = bytes


class MoveSwitch(Operation, frozen=True):
    """Make the incoming file the mailbox."""

    name: ClassVar[str] = "move_switch"
    answer: ClassVar[Any] = None
    incoming: ObjectId


class MoveClose(Operation, frozen=True):
    """End the hold; what waits goes on, here or there."""

    name: ClassVar[str] = "move_close"
    answer: ClassVar[Any] = None


# Of the primary that the mailbox comes to


class TakeOpen(Operation, frozen=True):
    """Begin a copy of the file ``replaces`` of about ``size`` octets; answers its id."""

    name: ClassVar[str] = "take_open"
    answer: ClassVar[Any] = str
    alias: ObjectId
    replaces: ObjectId
    size: Number


class TakeFit(Operation, frozen=True):
    """Give the copy the size of the original."""

    name: ClassVar[str] = "take_fit"
    answer: ClassVar[Any] = None
    sizes: Sizes


class TakeWrite(Operation, frozen=True):
    """Put one block in its place."""

    name: ClassVar[str] = "take_write"
    answer: ClassVar[Any] = None
    part: Part
    number: Number
    data: Block


class TakeDiffering(Operation, frozen=True):
    """Which of these blocks are not the same here."""

    name: ClassVar[str] = "take_differing"
    answer: ClassVar[Any] = list[int]
    part: Part
    first: Number
    digests: Annotated[list[Digest], Meta(max_length=DIGESTS_AT_ONCE)]


class TakeSync(Operation, frozen=True):
    """Have what came so far on the disk."""

    name: ClassVar[str] = "take_sync"
    answer: ClassVar[Any] = None


class TakeWaiting(Operation, frozen=True):
    """Which waiting messages have come, from behind an id on."""

    name: ClassVar[str] = "take_waiting"
    answer: ClassVar[Any] = list[WaitingEntry]
    aside: bool
    after: str


class TakeRows(Operation, frozen=True):
    """Take sealed messages."""

    name: ClassVar[str] = "take_rows"
    answer: ClassVar[Any] = None
    carries: ClassVar[bool] = True
    aside: bool
    rows: Annotated[list[WaitingRow], Meta(max_length=LISTED_AT_ONCE)]


class TakeDrop(Operation, frozen=True):
    """Drop messages that wait no more."""

    name: ClassVar[str] = "take_drop"
    answer: ClassVar[Any] = None
    aside: bool
    ids: Ids


class TakeSeal(Operation, frozen=True):
    """The copy is complete: have it on the disk and compare it whole."""

    name: ClassVar[str] = "take_seal"
    answer: ClassVar[Any] = None
    sizes: Sizes
    digest: Digest


class TakeClose(Operation, frozen=True):
    """The end: answers whether the copy is the mailbox now. What is not is removed."""

    name: ClassVar[str] = "take_close"
    answer: ClassVar[Any] = bool


_ALL: tuple[type[Operation], ...] = (
    *(MoveOpen, MoveSizes, MoveRead, MoveDigests, MoveWaiting, MoveRows),
    *(MoveFreeze, MoveSeal, MoveSwitch, MoveClose),
    *(TakeOpen, TakeFit, TakeWrite, TakeDiffering, TakeSync),
    *(TakeWaiting, TakeRows, TakeDrop, TakeSeal, TakeClose),
)

OPERATOR_OPERATIONS: dict[str, type[Operation]] = {one.name: one for one in _ALL}


@attrs.define
class _Giving:
    source: Source
    frozen: IFrozen | None = None


class Operator:
    """One operator's connection: at most one mailbox that goes, and one that comes."""

    accepts: ClassVar[Mapping[str, type[Operation]]] = OPERATOR_OPERATIONS
    notes: ClassVar[Mapping[str, type[NoteBody]]] = {}

    def __init__(self, moves: Moves, connection: LinkConnection) -> None:
        self._moves = moves
        self._lost = False
        self._opening = False
        self._giving: _Giving | None = None
        self._target: Target | None = None
        self._does: dict[type[Operation], Callable[[Any], Any]] = {
            MoveOpen: self._open,
            MoveSizes: lambda _: self._give("sizes"),
            MoveRead: lambda one: self._give("read", one.part, one.number),
            MoveDigests: lambda one: self._give("digests", one.part, one.first, one.count),
            MoveWaiting: lambda one: self._give("waiting", one.after, LISTED_AT_ONCE, one.aside),
            MoveRows: lambda one: self._give("rows", one.ids, one.aside),
            MoveFreeze: lambda one: self._freeze(one.patience),
            MoveSeal: lambda _: self._give("seal"),
            MoveSwitch: lambda one: self._switch(one.incoming),
            MoveClose: lambda _: self._let_go(),
            TakeOpen: self._begin,
            TakeFit: lambda one: self._take("fit", one.sizes),
            TakeWrite: lambda one: self._take("write", one.part, one.number, one.data),
            TakeDiffering: lambda one: self._take("differing", one.part, one.first, one.digests),
            TakeSync: lambda _: self._take("sync"),
            TakeWaiting: lambda one: self._take("waiting", one.after, LISTED_AT_ONCE, one.aside),
            TakeRows: lambda one: self._take("add", one.rows, one.aside),
            TakeDrop: lambda one: self._take("remove", one.ids, one.aside),
            TakeSeal: lambda one: self._take("seal", one.sizes, one.digest),
            TakeClose: lambda _: self._finish(),
        }
        connection.closed.addBoth(self._closed)

    def called(self, call: Received) -> Deferred[Any]:
        """Do it. Who cancels waits no more, but the step is done to its end."""
        answer: Deferred[Any] = Deferred()

        def done(result: Any) -> None:
            if not answer.called:
                answer.callback(result)
            elif isinstance(result, Failure):
                _log(result)

        work: Coroutine[Any, Any, Any] | Deferred[Any] = self._does[type(call.operation)](
            call.operation
        )
        step = work if isinstance(work, Deferred) else Deferred.fromCoroutine(work)
        step.addBoth(done)
        return answer

    def told(self, note: NoteBody) -> None:
        """An operator tells nothing."""

    # The mailbox that goes

    async def _open(self, asked: MoveOpen) -> MoveOpened:
        self._begins(self._giving)
        try:
            source = await self._moves.run(Source, self._moves.place, asked.alias)
        finally:
            self._opening = False
        self._giving = _Giving(source)
        if self._lost:
            await self._let_go()
        return MoveOpened(source.record.id, await self._give("sizes"))

    async def _freeze(self, patience: float) -> Sizes:
        giving = self._present()
        if giving.frozen is not None:
            raise InvalidInput("the mailbox was held still already")
        frozen = await self._moves.freeze(giving.source.alias, patience)
        if self._giving is not giving or giving.frozen is not None:
            await frozen.thaw()
            raise Unavailable("the move has ended")
        giving.frozen = frozen
        sizes: Sizes = await frozen.run(giving.source.hold_still)
        return sizes

    def _switch(self, incoming: str) -> Deferred[Any]:
        giving = self._present()
        if giving.frozen is None:
            raise InvalidInput("the mailbox is not held still")
        return giving.frozen.run(giving.source.switch, incoming)

    async def _let_go(self) -> None:
        giving, self._giving = self._giving, None
        if giving is None:
            return
        try:
            if giving.frozen is not None:
                await giving.frozen.thaw()
        finally:
            await self._moves.run(giving.source.close)

    def _give(self, method: str, *arguments: Any) -> Deferred[Any]:
        """One of our own methods of Source, inside the hold when there is one."""
        giving = self._present()
        run = self._moves.run if giving.frozen is None else giving.frozen.run
        return run(getattr(giving.source, method), *arguments)

    def _present(self) -> _Giving:
        if self._giving is None:
            raise Unavailable("no mailbox is given away over this link")
        return self._giving

    # The mailbox that comes

    async def _begin(self, asked: TakeOpen) -> str:
        self._begins(self._target)
        try:
            self._target = target = await self._moves.run(
                Target, self._moves.place, asked.alias, asked.replaces, asked.size
            )
        finally:
            self._opening = False
        if self._lost:
            await self._finish()
        incoming: str = target.record.id
        return incoming

    def _take(self, method: str, *arguments: Any) -> Deferred[Any]:
        """One of our own methods of Target."""
        if self._target is None:
            raise Unavailable("no mailbox comes in over this link")
        return self._moves.run(getattr(self._target, method), *arguments)

    async def _finish(self) -> bool:
        target, self._target = self._target, None
        if target is None:
            return False
        await self._moves.run(target.close)
        arrived: bool = await self._moves.run(target.arrived)
        return arrived

    # Both

    def _begins(self, there: object) -> None:
        if there is not None or self._opening:
            raise InvalidInput("a move is under way over this link")
        self._opening = True

    def _closed(self, reason: object) -> object:
        """The link is gone, and with it what was begun over it."""
        self._lost = True
        for end in (self._let_go, self._finish):
            Deferred.fromCoroutine(end()).addErrback(_log)
        return reason


def _log(failure: Failure) -> None:
    error = failure.value
    if error is not None and not isinstance(error, MailsrvError):
        log_unexpected(error)
