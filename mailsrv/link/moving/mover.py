"""Carry a mailbox from one primary to another while its owner works.

Blocks are copied once as they are, then again those that have changed, until few do; then with
the mailbox held still those that are left. Requests and mail wait meanwhile, so that what takes
time comes before.
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from typing import Any

import attrs
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime

from mailsrv.errors import MailsrvError, Unavailable
from mailsrv.link.moving.serving import (
    DIGESTS_AT_ONCE,
    LISTED_AT_ONCE,
    MoveClose,
    MoveDigests,
    MoveFreeze,
    MoveOpen,
    MoveRead,
    MoveRows,
    MoveSeal,
    MoveSizes,
    MoveSwitch,
    MoveWaiting,
    TakeClose,
    TakeDiffering,
    TakeDrop,
    TakeFit,
    TakeOpen,
    TakeRows,
    TakeSeal,
    TakeSync,
    TakeWaiting,
    TakeWrite,
)
from mailsrv.link.wire.frames import Operation
from mailsrv.mailbox.blocks import BLOCK, blocks_in
from mailsrv.mailbox.waiting import WaitingEntry
from mailsrv.store.moving import PARTS, Part, Sizes

AT_ONCE = 4
"""Blocks under way: so many times ``BLOCK`` octets are in memory."""

_PASSES = 4
_FEW = 16
"""Blocks that may be left to copy while the mailbox is held still."""

_PATIENCE = 10.0
"""Seconds for requests that are at work in the mailbox to end."""

_LONGEST_HOLD = 40.0
"""Seconds. A mailbox that takes longer to be compared would not be held still for so long."""

Asked = Callable[[Operation], Awaitable[Any]]


@attrs.frozen
class Moved:
    """What was moved, and how long the mailbox was held still, in seconds."""

    mailbox: str
    octets: int
    waiting: int
    pause: float
    seconds: float


@attrs.frozen
class Progress:
    """``octets`` of ``of`` have been copied or compared, in the step of this name."""

    step: str
    octets: int
    of: int


class Mover:
    """One move. ``source`` and ``target`` ask the two primaries, over an operator's links."""

    def __init__(
        self,
        source: Asked,
        target: Asked,
        clock: IReactorTime,
        report: Callable[[Progress], None],
    ) -> None:
        self._source = source
        self._target = target
        self._clock = clock
        self._report = report

    async def move(self, alias: str) -> Moved:
        """Move the mailbox of an alias (ObjectID). Whatever fails, it is whole, here or there.

        Unavailable with a word of doubt when it cannot be said where; else what the primaries
        raise, and the mailbox is where it was.
        """
        began = self._clock.seconds()
        opened = await self._source(MoveOpen(alias))
        octets = opened.sizes.file + opened.sizes.log
        try:
            incoming = await self._target(TakeOpen(alias, opened.mailbox, octets))
        except BaseException:
            await _whatever_happens(self._source(MoveClose()))
            raise
        asked = False
        try:
            await self._before(opened.sizes)
            held = self._clock.seconds()
            sizes, waiting = await self._held_still()
            asked = True
            await self._source(MoveSwitch(incoming))
        except BaseException as error:  # noqa: BLE001 - raised again, unless it had happened
            await self._ended(error, asked)
            # the answer was lost, but it had happened
            return Moved(incoming, octets, 0, 0.0, self._clock.seconds() - began)
        await _whatever_happens(self._source(MoveClose()))
        pause = self._clock.seconds() - held
        await _whatever_happens(self._target(TakeClose()))
        took = self._clock.seconds() - began
        return Moved(incoming, sizes.file + sizes.log, waiting, pause, took)

    async def _ended(self, error: BaseException, asked: bool) -> None:
        """Returns only when the mailbox has moved all the same, having been ``asked`` to."""
        await _whatever_happens(self._source(MoveClose()))
        arrived: bool | None
        try:
            arrived = await self._target(TakeClose())
        except MailsrvError:
            arrived = None
        if arrived:
            return
        if asked and arrived is None and isinstance(error, Unavailable):
            raise Unavailable(
                f"{error}; whether the mailbox has moved, 'mailsrv mailbox show' tells"
            ) from error
        raise error

    async def _before(self, sizes: Sizes) -> None:
        """All that can be done while the owner works."""
        await self._target(TakeFit(Sizes(file=sizes.file, log=0)))
        await self._copy("file", range(blocks_in(sizes.file)), "copying", sizes.file)
        for _ in range(_PASSES):
            began = self._clock.seconds()
            sizes = await self._source(MoveSizes())
            await self._target(TakeFit(Sizes(file=sizes.file, log=0)))
            changed = await self._compare("file", sizes.file, "comparing")
            took = self._clock.seconds() - began
            if changed <= _FEW:
                break
        await self._target(TakeSync())
        await self._waiting(final=False)
        if took > _LONGEST_HOLD:
            raise Unavailable(
                f"the mailbox would have to be held still for {took:.0f} s: "
                "try again when the machines are less busy"
            )

    async def _held_still(self) -> tuple[Sizes, int]:
        sizes: Sizes = await self._source(MoveFreeze(_PATIENCE))
        await self._target(TakeFit(sizes))
        for part in PARTS:
            await self._compare(part, sizes.of(part), "finishing")
        waiting = await self._waiting(final=True)
        await self._target(TakeSeal(sizes, await self._source(MoveSeal())))
        return sizes, waiting

    async def _copy(self, part: Part, numbers: Iterable[int], step: str, total: int) -> None:
        done = 0

        async def copy(number: int) -> None:
            nonlocal done
            data = await self._source(MoveRead(part, number))
            if data:  # the file may have become shorter
                await self._target(TakeWrite(part, number, data))
            done += len(data)
            self._report(Progress(step, min(done, total), total))

        await _each(numbers, copy, AT_ONCE)

    async def _compare(self, part: Part, size: int, step: str) -> int:
        """Copy the blocks that differ; how many did."""
        blocks, done, found = blocks_in(size), 0, 0

        async def compare(first: int) -> None:
            nonlocal done, found
            count = min(DIGESTS_AT_ONCE, blocks - first)
            digests = await self._source(MoveDigests(part, first, count))
            differing = await self._target(TakeDiffering(part, first, digests))
            for number in differing:
                data = await self._source(MoveRead(part, number))
                if data:
                    await self._target(TakeWrite(part, number, data))
            done, found = done + count, found + len(differing)
            self._report(Progress(step, min(done * BLOCK, size), size))

        await _each(range(0, blocks, DIGESTS_AT_ONCE), compare, 2)
        return found

    async def _waiting(self, *, final: bool) -> int:
        """Make what waits there what waits here; how many messages.

        Unless it is ``final`` it may differ again by the end.
        """
        total = 0
        for aside in (False, True):
            count, gone, missing = await self._differing(aside)
            for ids in _in_groups(gone):
                await self._target(TakeDrop(aside, ids))
            for ids in _in_groups(missing):
                await self._target(TakeRows(aside, await self._source(MoveRows(aside, ids))))
            if final and (gone or missing):
                _, gone, missing = await self._differing(aside)
                if gone or missing:
                    raise Unavailable("what waits for the owner was not copied")
            total += count
        return total

    async def _differing(self, aside: bool) -> tuple[int, list[WaitingEntry], list[WaitingEntry]]:
        """How many messages wait here; which should not wait there, and which are missing."""
        here = await _all(lambda after: self._source(MoveWaiting(aside, after)))
        there = await _all(lambda after: self._target(TakeWaiting(aside, after)))
        kept = {one for one in there if one in here and there[one].octets == here[one].octets}
        gone = [there[one] for one in there if one not in kept]
        missing = [here[one] for one in here if one not in kept]
        return len(here), gone, sorted(missing, key=lambda one: one.number)


async def _all(page: Callable[[str], Awaitable[list[WaitingEntry]]]) -> dict[str, WaitingEntry]:
    found: dict[str, WaitingEntry] = {}
    after = ""
    while rows := await page(after):
        found.update((row.delivery_id, row) for row in rows)
        after = rows[-1].delivery_id
    return found


def _in_groups(entries: Iterable[WaitingEntry]) -> Iterator[list[str]]:
    """Ids of messages that are sent together: about a block, or one that is larger."""
    group: list[str] = []
    octets = 0
    for entry in entries:
        if group and (octets + entry.octets > BLOCK or len(group) >= LISTED_AT_ONCE):
            yield group
            group, octets = [], 0
        group.append(entry.delivery_id)
        octets += entry.octets
    if group:
        yield group


async def _each(
    numbers: Iterable[int], work: Callable[[int], Coroutine[Any, Any, None]], at_once: int
) -> None:
    """Do ``work`` for each, so many at once; the first error ends it when all have ended."""
    remaining = iter(numbers)
    failed = False

    async def go_on() -> None:
        nonlocal failed
        for number in remaining:
            if failed:
                return
            try:
                await work(number)
            except BaseException:
                failed = True
                raise

    ends = [Deferred.fromCoroutine(go_on()) for _ in range(at_once)]
    results: Any = await DeferredList(ends, consumeErrors=True)
    for success, result in results:
        if not success:
            raise result.value


async def _whatever_happens(asked: Awaitable[Any]) -> None:
    """A last request: when it fails the end of the link does the same."""
    try:
        await asked
    except MailsrvError:
        return
