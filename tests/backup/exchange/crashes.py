"""Kill a process at one line after another of an export or import, then look at what is left.

``python -m tests.backup.exchange.crashes SCENARIO BASE STRIDE`` goes on as ``tests.store.crashes``
does: a child for every STRIDE-th line that runs, which dies there as by kill -9. The same command
follows, killed once more at that line, and then left in peace: it ends as if nothing had been.
"""

import itertools
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mailsrv.backup.exchange import exporting, importing
from mailsrv.backup.exchange.exporting import Export
from mailsrv.backup.exchange.importing import Import, Target
from mailsrv.backup.exchange.opening import open_source
from mailsrv.errors import InvalidInput
from mailsrv.mailbox.outgoing import snapshot
from mailsrv.mailbox.values import Flags, NewMessage
from mailsrv.store.beside import Beside, OpenedBeside
from tests.backup.exchange.boxes import FORMATS, KEPT, LARGEST, MESSAGES, held, nothing, tree
from tests.store.crashes import ADDRESS, Scene, forked
from tests.store.world import World, now

_FORMATS = "mailsrv.backup.exchange.formats"
MODULES = {
    "export": (
        "mailsrv.backup.exchange.exporting",
        *(f"{_FORMATS}.{name}" for name in ("index", "mbox", "maildir", "eml")),
    ),
    "import": (
        "mailsrv.backup.exchange.importing",
        "mailsrv.mailbox.incoming",
        "mailsrv.mailbox.transaction",
        "mailsrv.store.usage",
        "mailsrv.directory.quotas",
    ),
}


class Rounds:
    def __init__(self, base: Path) -> None:
        self.base = base
        self.scene = Scene(base)
        self.passwords = {ADDRESS: self.scene.password}
        exporting.MESSAGES_AT_ONCE = importing.MESSAGES_AT_ONCE = 2
        with self.scene.world() as world, self.opened(world, ADDRESS) as mine:
            mine.mailbox.create_folder("Work/deep", None)
            for number, content in enumerate(MESSAGES[:7]):
                new = [NewMessage(content, Flags(number, "todo"), "2026-11-23T10:15:00Z")]
                mine.mailbox.append(("INBOX", "Work/deep")[number % 2], new * (1 + number % 2))
            self.held = held(mine.mailbox)
            self.octets = mine.mailbox.usage().octets
            for form in FORMATS:
                self.export(mine, form, f"whole-{form}")

    @contextmanager
    def opened(self, world: World, address: str) -> Iterator[OpenedBeside]:
        beside = Beside(world.directory, world.volume, now, "primary", KEPT)
        with beside.open(address, self.passwords[address], None) as mine:
            yield mine

    def export(self, mine: OpenedBeside, form: str, target: str) -> None:
        with snapshot(mine.mailbox) as view:
            Export(self.base / target, form, nothing).run(view)  # type: ignore[arg-type]

    def bring(self, mine: OpenedBeside, form: str) -> None:
        source = open_source(self.base / f"whole-{form}", LARGEST)
        target = Target(mine.mailbox, mine.alias.id, mine.usages, mine.changed)
        Import(target, source, LARGEST, nothing).run()

    def export_round(self, fatal: int, form: str) -> bool:
        """Whether the child died."""
        target = self.base / "out"

        def work(world: World) -> None:
            with self.opened(world, ADDRESS) as mine:
                self.export(mine, form, "out")

        died = False
        for _ in range(2):
            if not (target / exporting.MANIFEST).exists():
                died |= forked(self.scene, MODULES["export"], fatal)(work)
        with self.scene.world() as world, suppress(InvalidInput):  # it may be complete
            work(world)
        assert tree(target) == tree(self.base / f"whole-{form}"), f"{form} differs at {fatal}"
        shutil.rmtree(target)
        return died

    def import_round(self, fatal: int, form: str) -> bool:
        address = f"{fatal}@example.com"
        with self.scene.world() as world:
            _, self.passwords[address] = world.mailbox(address)

        def work(world: World) -> None:
            with self.opened(world, address) as mine:
                self.bring(mine, form)

        died = forked(self.scene, MODULES["import"], fatal)(work)
        forked(self.scene, MODULES["import"], fatal)(work)
        with self.scene.world() as world:
            with self.opened(world, address) as mine:
                mine.mailbox.check()
                for name, messages in held(mine.mailbox).items():
                    assert messages <= self.held.get(name, messages), f"{name}: too much"
            work(world)
            with self.opened(world, address) as mine:
                mine.mailbox.check()
                assert held(mine.mailbox) == self.held, f"{form} differs at {fatal}"
                usage = world.directory.usage(mine.alias.id)
                assert usage.octets == self.octets, "the quota counts something else"
        return died


def main(scenario: str, base: str, stride: str) -> None:
    rounds = Rounds(Path(base))
    run = {"export": rounds.export_round, "import": rounds.import_round}[scenario]
    deaths = 0
    for fatal, form in zip(itertools.count(1, int(stride)), itertools.cycle(FORMATS), strict=False):
        if not run(fatal, form):
            break
        deaths += 1
    print(deaths)


if __name__ == "__main__":
    main(*sys.argv[1:])
