"""The link breaks, or a process of either side dies, at each stage of each kind of change.

Stages are those of a request's life: it never reaches the primary, half of it does, all of it does
and the link is gone; it was done and no answer, half an answer or the answer comes back.
"""

import itertools
import threading
from collections.abc import Callable, Iterator

from tests.faults.common import SOAK
from tests.faults.link_case import SECONDS, LinkTestCase
from tests.faults.link_frames import DOWN, UP
from tests.faults.link_model import (
    Append,
    Change,
    Create,
    Delete,
    Deliver,
    Expunge,
    Store,
    Transfer,
    agree,
    perform,
)
from tests.faults.link_proxy import Do, Fault

DELETED = frozenset({"\\Deleted"})

STAGES = {
    "never asked": (UP, Do.CUT_BEFORE),
    "half asked": (UP, Do.CUT_INSIDE),
    "asked": (UP, Do.CUT_AFTER),
    "done and not answered": (DOWN, Do.CUT_BEFORE),
    "half answered": (DOWN, Do.CUT_INSIDE),
    "answered": (DOWN, Do.CUT_AFTER),
}
ODDITIES = {
    "asked twice": (UP, Do.REPEAT),
    "asked late": (UP, Do.HOLD),
    "answered twice": (DOWN, Do.REPEAT),
    "answered late": (DOWN, Do.HOLD),
}


class StageTestCase(LinkTestCase):
    """A mailbox with something in it, and changes that all do something to it."""

    def setUp(self) -> None:
        super().setUp()
        self.numbers = itertools.count()
        self.fill("INBOX", "first", "second")

    def mark(self) -> str:
        return f"mark-{next(self.numbers)}"

    def changes(self) -> Iterator[Change]:
        """One of each kind; each is made when the one before it is done."""
        yield Append("INBOX", self.mark(), DELETED)
        yield Append("INBOX", f"{self.mark()}-big")
        yield Deliver(self.mark())
        yield Create(f"Folder-{self.mark()}")
        yield Store("INBOX", self.box.uids("INBOX"), "\\Flagged", next(self.signs))
        yield Transfer("INBOX", self.box.uids("INBOX")[-2:], "Archive")
        yield Transfer("INBOX", self.box.uids("INBOX")[-2:], "Archive", moving=True)
        yield Transfer("Archive", self.box.uids("Archive")[-1:], "INBOX")
        yield Expunge("Archive")
        yield Expunge("INBOX")
        yield Delete(next(name for name in self.box.folders if name.startswith("Folder-")))

    signs = itertools.cycle("+-")

    def under(
        self, change: Change, way: str, do: Do, then: Callable[[], object] | None = None
    ) -> None:
        """Make the change, which the fault meets; the answer, or else the mailbox, tells all."""
        fault = self.cluster.a.proxy.fault(Fault(way, do, change.operation, then=then))
        boxes = perform(change, self.a, self.box)
        self.assertTrue(fault.met.wait(SECONDS), f"no {change.operation} on the link")
        self.assertTrue(fault.over.wait(SECONDS))
        self.box = agree(boxes, self.b.see())
        self.certain = len(boxes) == 1


class BrokenLinkTests(StageTestCase):
    """The secondary asks again by itself; its client sees a pause and nothing else."""

    def through(self, stages: dict[str, tuple[str, Do]]) -> None:
        for stage, (way, do) in stages.items():
            for change in self.changes():
                if do is Do.HOLD and "big" in str(change):
                    continue  # pieces of one body are never out of order
                self.under(change, way, do)
                self.assertTrue(self.certain, f"{change.operation} {stage}: no answer came")
        self.agree()

    def test_the_link_is_cut(self) -> None:
        self.through(STAGES)

    def test_frames_are_repeated_and_late(self) -> None:
        self.through(ODDITIES)

    def test_each_frame_is_the_last(self) -> None:
        """A client's whole visit, with the link cut at its n-th frame, for n = 1, 2 ..."""
        for way, number in itertools.product((UP, DOWN), range(1, 40 if SOAK else 8)):
            self.a.forget()
            self.cluster.a.proxy.cut()
            fault = self.cluster.a.proxy.fault(Fault(way, Do.CUT_INSIDE, number=number))
            self.do(Append("INBOX", self.mark()))
            self.agree(self.a)
            self.assertTrue(fault.met.is_set())


class DeadPrimaryTests(StageTestCase):
    """kill -9 of the primary, which comes back: clients see a pause and nothing else."""

    def through(self, pairs: Iterator[tuple[Change, tuple[str, Do]]]) -> None:
        for change, (way, do) in pairs:
            self.under(change, way, do, self.primary.restart)
            self.assertTrue(self.certain, f"{change.operation}, {way}, {do}: no answer came")
        self.agree()

    def test_killed_at_a_stage(self) -> None:
        """Every fourth change meets a stage of its own; under MAILSRV_SOAK each meets all."""
        if SOAK:
            for stage in STAGES.values():
                self.through((change, stage) for change in self.changes())
            return
        stages = self.dice.sample(list(STAGES.values()), len(STAGES))
        for number, change in enumerate(self.changes(), self.dice.randrange(4)):
            if number % 4:
                self.do(change)
            else:
                self.through(iter([(change, stages.pop())]))

    def test_killed_at_login(self) -> None:
        for way, do in STAGES.values() if SOAK else [STAGES["asked"], STAGES["half answered"]]:
            self.a.forget()
            fault = self.cluster.a.proxy.fault(Fault(way, do, "login", then=self.primary.restart))
            self.a.client()
            self.assertTrue(fault.met.is_set())
            self.agree(self.a)

    def test_killed_at_any_moment(self) -> None:
        for _ in range(50 if SOAK else 1):
            killer = threading.Timer(self.dice.uniform(0, 0.3), self.primary.restart)
            killer.start()
            try:
                for change in self.changes():
                    (self.box,) = perform(change, self.a, self.box)
                    self.agree(self.a)
            finally:
                killer.join()
        self.agree()


class DeadSecondaryTests(StageTestCase):
    """kill -9 of the secondary: its clients know nothing, and the change was made or was not."""

    def through(self, pairs: Iterator[tuple[Change, tuple[str, Do]]]) -> None:
        for change, (way, do) in pairs:
            self.under(change, way, do, self.cluster.a.kill)
            self.assertFalse(self.certain, f"{change.operation}: an answer of the dead")
            self.cluster.a.start()
        self.agree()

    def test_killed_at_a_stage(self) -> None:
        stages = [stage for name, stage in STAGES.items() if name != "answered"]
        if SOAK:
            for stage in stages:
                self.through((change, stage) for change in self.changes())
        else:
            chosen = [self.dice.choice(stages) for _ in range(3)]
            kinds = [
                Append("INBOX", self.mark()),
                Deliver(self.mark()),
                Transfer("INBOX", self.box.uids("INBOX")[:1], "Archive", moving=True),
            ]
            self.through(zip(kinds, chosen, strict=True))
