"""Kill a whole move at one line after another of what it does, then look at what is left.

``python -m tests.link.move_crashes BASE STRIDE`` forks a child for every STRIDE-th line that runs
in the modules of moves; mover and both primaries end there as kill -9 would end them. Each child
begins with a copy of the same world. Prints how many died.
"""

import os
import shutil
import sys
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from mailsrv.directory import schema
from mailsrv.link.moving.mover import Mover
from tests.link.moves import Link
from tests.store.crashes import KILLED, die_at_line
from tests.store.two_volumes import ADDRESS, TwoVolumes

MODULES = (
    "mailsrv.directory.mailboxes",
    "mailsrv.directory.moves",
    "mailsrv.link.moving.mover",
    "mailsrv.link.moving.serving",
    "mailsrv.mailbox.waiting",
    "mailsrv.store.arriving",
    "mailsrv.store.moving",
    "mailsrv.store.waiting",
)


def move(world: TwoVolumes) -> None:
    """A whole move, and the housekeeping after it."""
    mover = Mover(Link(world.a).ask, Link(world.b).ask, Clock(), lambda _: None)
    ends: list[object] = []
    Deferred.fromCoroutine(mover.move(world.alias)).addBoth(ends.append)
    assert len(ends) == 1
    world.directory.settle_move(world.alias, world.record.id)
    world.a.place.tidy()
    world.b.place.tidy()


def died_at(world: TwoVolumes, fatal: int) -> bool:
    """Move in a child that dies at the ``fatal``-th line; whether it died."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            die_at_line(MODULES, fatal)
            move(world)
            sys.settrace(None)
            status = 0
        finally:
            os._exit(status)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, KILLED), f"the child failed with {code} at line {fatal}"
    return code == KILLED


def check(world: TwoVolumes) -> None:
    """Both primaries start again; then nothing is left over but an old copy."""
    for primary in (world.a, world.b):
        primary.restart()
        primary.place.tidy()
    record = world.record
    assert world.directory.alias(ADDRESS).primary == record.primary
    states = [one.state for one in world.directory.mailbox_files(world.alias)]
    assert set(states) <= {schema.CURRENT, schema.MOVED}, states
    other = world.b if record.primary == "a" else world.a
    assert not [one for one in other.listing() if "waiting" in one or "aside" in one]
    world.append()
    world.wait()
    world.check_mail()
    world.directory.settle_move(world.alias, record.id)
    for primary in (world.a, world.b):
        primary.place.tidy()
    assert len(world.directory.mailbox_files(world.alias)) == 1
    assert world.a.listing() + world.b.listing() == [f"{record.id}.sqlite"]


def main(base: str, stride: str) -> None:
    template = TwoVolumes(Path(base) / "template").fill()
    fatal, deaths = 1, 0
    while True:
        world = template.copy(Path(base) / str(fatal))
        died = died_at(world, fatal)
        check(world)
        world.directory.close()
        shutil.rmtree(world.base)
        if not died:
            break
        deaths += 1
        fatal += int(stride)
    print(deaths)


if __name__ == "__main__":
    main(*sys.argv[1:])
