"""Random changes at two secondaries of one mailbox, on links and processes that fail at random.

Changes come one after the other, so that each answer can be held against a model: what was
acknowledged is there exactly once, what was not answered at most once; UIDs rise, MODSEQs never
fall, and a client that stays in a folder is told all that happens to it.
"""

import itertools
import secrets
import threading
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from tests.faults.cluster import shared
from tests.faults.common import SOAK
from tests.faults.link_frames import DOWN, UP
from tests.faults.link_model import (
    Append,
    Box,
    Change,
    Create,
    Delete,
    Deliver,
    Expunge,
    Held,
    Seen,
    Session,
    Store,
    Transfer,
    agree,
    perform,
)
from tests.faults.link_proxy import Do, Fault
from tests.waiting import eventually

flags = st.sampled_from(["\\Flagged", "\\Seen", "\\Deleted", "$Junk"])
names = st.sampled_from(["INBOX", "INBOX", "Archive", "x", "y"])
sides = st.sampled_from(["a", "b"])
some = st.integers(1, 15)
"""Bits: which of the last four messages."""

_marks = itertools.count()


class LinkMachine(RuleBasedStateMachine):
    """``boxes`` are those that the mailbox may be, more than one after answers were lost."""

    @initialize()
    def begin(self) -> None:
        self.cluster = shared()
        self.cluster.heal()
        address = f"machine-{secrets.token_hex(6)}@example.com"
        password = self.cluster.primary.add(address)
        self.sessions = {
            "a": Session(self.cluster, self.cluster.a, address, password),
            "b": Session(self.cluster, self.cluster.b, address, password),
        }
        self.box = Box()
        self.highest: dict[str, int] = {}
        self.modseqs: dict[str, int] = {}
        self.timers: list[threading.Timer] = []
        self.change("a", Append("INBOX", self.mark(), frozenset({"\\Deleted"})))

    def teardown(self) -> None:
        if not hasattr(self, "sessions"):
            return
        for timer in self.timers:
            timer.join()
        self.cluster.heal()
        try:
            self.look_again()
        finally:
            for session in self.sessions.values():
                session.forget()

    def mark(self) -> str:
        return f"mark-{next(_marks)}"

    # Changes

    def change(self, side: str, change: Change) -> None:
        boxes = perform(change, self.sessions[side], self.box)
        if len(boxes) == 1:
            self.box = boxes[0]
        else:
            self.box = agree(boxes, self.see("b" if side == "a" else "a"))

    def chosen(self, folder: str, bits: int) -> list[int]:
        last = self.see_uids(folder)[-4:]
        return [uid for at, uid in enumerate(last) if bits >> at & 1]

    def see_uids(self, folder: str) -> list[int]:
        """UIDs of the folder; a look at the mailbox tells those that no answer said."""
        if any(one.uid is None for one in self.box.folders[folder]):
            self.box = agree([self.box], self.see("a"))
        return self.box.uids(folder)

    @rule(side=sides, folder=names, flags=st.sets(flags, max_size=2), big=st.integers(0, 9))
    def append(self, side: str, folder: str, flags: set[str], big: int) -> None:
        if folder in self.box.folders:
            mark = f"{self.mark()}{'-big' if big == 9 else ''}"
            self.change(side, Append(folder, mark, frozenset(flags)))

    @rule(side=sides)
    def deliver(self, side: str) -> None:
        self.change(side, Deliver(self.mark()))

    @rule(side=sides, folder=names, to=names, bits=some, moving=st.booleans())
    def transfer(self, side: str, folder: str, to: str, bits: int, moving: bool) -> None:
        if {folder, to} <= set(self.box.folders) and folder != to:
            uids = self.chosen(folder, bits)
            if uids:
                self.change(side, Transfer(folder, uids, to, moving))

    @rule(side=sides, folder=names, bits=some, flag=flags, sign=st.sampled_from("+-"))
    def store(self, side: str, folder: str, bits: int, flag: str, sign: str) -> None:
        if folder in self.box.folders:
            uids = self.chosen(folder, bits)
            if uids:
                self.change(side, Store(folder, uids, flag, sign))

    @rule(side=sides, folder=names)
    def expunge(self, side: str, folder: str) -> None:
        if folder in self.box.folders:
            self.change(side, Expunge(folder))

    @rule(side=sides, name=st.sampled_from("xy"))
    def create(self, side: str, name: str) -> None:
        self.change(side, Create(name))

    @rule(side=sides, name=st.sampled_from("xy"))
    def delete(self, side: str, name: str) -> None:
        if all(session.folder != name for session in self.sessions.values()):
            self.change(side, Delete(name))
            if name not in self.box.folders:
                self.highest.pop(name, None)
                self.modseqs.pop(name, None)

    # What goes wrong

    @rule(
        side=sides,
        way=st.sampled_from([UP, DOWN]),
        do=st.sampled_from([Do.CUT_BEFORE, Do.CUT_INSIDE, Do.CUT_AFTER, Do.REPEAT, Do.HOLD]),
        skipped=st.integers(0, 3),
    )
    def break_a_frame(self, side: str, way: str, do: Do, skipped: int) -> None:
        proxy = self.sessions[side].secondary.proxy
        if skipped:
            proxy.fault(Fault(way, Do.PASS, times=skipped))
        proxy.fault(Fault(way, do, seconds=0.05))

    @rule(side=sides)
    def cut(self, side: str) -> None:
        self.sessions[side].secondary.proxy.cut()

    @rule(side=sides, delay=st.sampled_from([0.0, 0.0, 0.01, 0.05]))
    def delay(self, side: str, delay: float) -> None:
        self.sessions[side].secondary.proxy.delay = delay

    @rule(side=sides, seconds=st.sampled_from([0.05, 0.3]))
    def go_away(self, side: str, seconds: float) -> None:
        proxy = self.sessions[side].secondary.proxy
        proxy.down()
        self.later(seconds, proxy.up)

    def later(self, seconds: float, what: Any) -> None:
        timer = threading.Timer(seconds, what)
        self.timers.append(timer)
        timer.start()

    @rule(dice=st.integers(0, 3))
    def restart_primary(self, dice: int) -> None:
        if dice == 0:
            for timer in self.timers:
                timer.join()
            self.cluster.primary.kill()
            self.later(0, self.cluster.primary.start)

    @rule(side=sides, dice=st.integers(0, 3))
    def restart_secondary(self, side: str, dice: int) -> None:
        if dice == 0:
            self.sessions[side].secondary.restart()
            self.sessions[side].forget()

    # What must hold

    def see(self, side: str) -> Seen:
        seen = self.sessions[side].see()
        for name, held in seen.folders.items():
            uids = [one.uid or 0 for one in held]
            highest = self.highest.get(name, 0)
            known = {one.uid for one in self.box.folders.get(name, [])}
            new = [uid for uid in uids if uid not in known]
            assert all(uid > highest for uid in new), f"{name}: {new} after {highest}"
            self.highest[name] = max([highest, *uids])
            assert seen.modseqs[name] >= self.modseqs.get(name, 0), f"{name}: MODSEQ fell"
            self.modseqs[name] = seen.modseqs[name]
        return seen

    @rule()
    def look_again(self) -> None:
        """Both sessions see what must be there."""
        for side in self.sessions:
            self.box = agree([self.box], self.see(side))

    @rule(side=sides)
    def stay(self, side: str) -> None:
        """A client in a folder knows what is in it from what it was told."""
        session = self.sessions[side]
        folder = session.folder
        if not folder:
            return
        # which selects it again where the server had said goodbye
        client, held = session.client(folder), self.box.folders[folder]
        told = lambda: client.ok("NOOP") and client.exists == len(held)  # noqa: E731
        assert eventually(told), f"{client.exists} messages, not {len(held)}"
        rows = client.fetch("1:*", "(UID FLAGS)") if held else {}
        found = [Held(row["UID"], "", _flags(row)) for _, row in sorted(rows.items())]
        expected = [
            Held(one.uid or here.uid, "", one.flags) for one, here in zip(held, found, strict=True)
        ]
        assert found == expected, f"{found}, not {expected}"


def _flags(row: dict[str, Any]) -> frozenset[str]:
    return frozenset(one.decode() for one in row["FLAGS"]) - {"\\Recent"}


class MachineTests(SynchronousTestCase):
    def test_nothing_is_lost_and_nothing_doubled(self) -> None:
        run_state_machine_as_test(
            LinkMachine,
            settings=settings(
                max_examples=400 if SOAK else 6,
                stateful_step_count=60 if SOAK else 25,
                deadline=None,
                database=None,
                # to make a failure shorter takes minutes here; its steps are printed as they were
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
