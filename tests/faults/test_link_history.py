"""Clients and senders at two secondaries at once, while links are cut and processes killed.

Every change is written down with when it was asked for and what became of it; no answer means
unknown, not failed. At the end the mailbox must be one that this history allows (link-history).
"""

import itertools
import threading
import time
from dataclasses import dataclass, field

from tests.faults.common import SOAK
from tests.faults.link_case import LinkTestCase
from tests.faults.link_frames import DOWN, UP
from tests.faults.link_model import GONE, Append, Deliver, Refused, Session, Unknown, asked
from tests.faults.link_proxy import Do, Fault

SECONDS = 600.0 if SOAK else 6.0
FOLDERS = ("INBOX", "Archive")


@dataclass
class Written:
    """One message in the history. ``folders`` and ``flagged`` are what each may be at the end."""

    mark: str
    asked: float
    stored: float | None = None
    """When it was acknowledged."""
    uid: int | None = None
    folders: set[str] = field(default_factory=lambda: {"INBOX"})
    flagged: set[bool] = field(default_factory=lambda: {False})


class HistoryTests(LinkTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.written: list[Written] = []
        self.over = threading.Event()
        self.failures: list[BaseException] = []
        self.numbers = itertools.count()

    def run_thread(self, work: object, *args: object) -> threading.Thread:
        def run() -> None:
            try:
                while not self.over.is_set():
                    work(*args)
            except BaseException as error:  # noqa: BLE001
                self.failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    # Who writes

    def note(self, name: str) -> Written:
        written = Written(f"{name}-{next(self.numbers)}", time.monotonic())
        self.written.append(written)
        return written

    def send(self, name: str, session: Session) -> None:
        written = self.note(name)
        try:
            asked(Deliver(written.mark), session)
        except (Unknown, Refused):
            self.over.wait(0.1)
        else:
            written.stored = time.monotonic()

    def work(self, name: str, session: Session, dice: object) -> None:
        """Append a message, and perhaps flag it and move it."""
        written = self.note(name)
        try:
            answer = asked(Append("INBOX", written.mark), session)
            written.stored = time.monotonic()
            written.uid = int(answer.code("APPENDUID").split()[1])
            if dice.random() < 0.5:
                self.flag(written, session)
            if dice.random() < 0.3:
                self.move(written, session)
        except Unknown:
            self.over.wait(0.1)

    def flag(self, written: Written, session: Session) -> None:
        written.flagged.add(True)
        self.must(session, f"UID STORE {written.uid} +FLAGS.SILENT (\\Flagged)")
        written.flagged = {True}

    def move(self, written: Written, session: Session) -> None:
        written.folders.add("Archive")
        self.must(session, f"UID MOVE {written.uid} Archive")
        written.folders = {"Archive"}

    def must(self, session: Session, words: str) -> None:
        """Unknown, unless it was done."""
        try:
            answer = session.client("INBOX").command(words)
        except (*GONE, AssertionError) as error:
            session.forget()
            raise Unknown(str(error)) from None
        if answer.status.kind != "OK":
            self.assertEqual(answer.status.code, "UNAVAILABLE", answer.status)
            raise Unknown(answer.status)

    def watch(self, session: Session, highest: dict[str, int]) -> None:
        """MODSEQs and UIDNEXT never fall, wherever they are asked for."""
        try:
            for name in FOLDERS:
                status = session.client().status(name, "HIGHESTMODSEQ UIDNEXT")
                for item, value in status.items():
                    self.assertGreaterEqual(value, highest.get(name + item, 0))
                    highest[name + item] = value
        except GONE:
            session.forget()
        time.sleep(0.02)

    # What goes wrong

    def trouble(self) -> None:
        self.over.wait(self.dice.uniform(0.1, 0.8))
        proxy = self.dice.choice((self.cluster.a, self.cluster.b)).proxy
        way = self.dice.choice((UP, DOWN))
        kinds = [Do.CUT_BEFORE, Do.CUT_INSIDE, Do.CUT_AFTER, Do.REPEAT, Do.HOLD]
        self.dice.choice(
            (
                proxy.cut,
                lambda: proxy.fault(Fault(way, self.dice.choice(kinds))),
                lambda: proxy.fault(Fault(way, self.dice.choice(kinds), "append")),
                lambda: proxy.fault(Fault(way, self.dice.choice(kinds), "deliver")),
                lambda: setattr(proxy, "delay", self.dice.choice((0.0, 0.02))),
                self.deaths,
            )
        )()

    def deaths(self) -> None:
        self.dice.choice((self.primary, self.primary, self.cluster.a, self.cluster.b)).restart()

    def test_a_history_that_could_be(self) -> None:
        sessions = [self.session(node) for node in (self.cluster.a, self.cluster.b) * 3]
        highest: dict[str, int] = {}
        threads = [
            *(
                self.run_thread(self.work, f"client{at}", session, self.dice)
                for at, session in enumerate(sessions[:3])
            ),
            *(
                self.run_thread(self.send, f"sender{at}", session)
                for at, session in enumerate(sessions[4:])
            ),
            self.run_thread(self.watch, sessions[3], highest),
            self.run_thread(self.trouble),
        ]
        self.over.wait(SECONDS)
        self.over.set()
        for thread in threads:
            thread.join()
        self.assertEqual(self.failures, [])
        self.cluster.heal()
        self.verify()

    def verify(self) -> None:
        seen = self.b.see()
        places: dict[str, list[tuple[str, int, bool]]] = {}
        for folder in FOLDERS:
            for one in seen.folders[folder]:
                place = (folder, one.uid or 0, "\\Flagged" in one.flags)
                places.setdefault(one.mark, []).append(place)
        self.assertGreater(sum(one.stored is not None for one in self.written), 10)
        self.assertLessEqual(set(places), {one.mark for one in self.written})
        for one in self.written:
            found = places.get(one.mark, [])
            self.assertLessEqual(len(found), 1, f"doubled: {one} {found}")
            self.assertTrue(found or one.stored is None, f"lost: {one}")
            for folder, uid, flagged in found:
                self.assertIn(folder, one.folders, one)
                self.assertIn(flagged, one.flagged, one)
                self.assertTrue(folder != "INBOX" or one.uid in (None, uid), f"{uid}: {one}")
        self.in_order()

    def in_order(self) -> None:
        """What was acknowledged before another was asked for has the lower UID."""
        known = [one for one in self.written if one.uid and one.stored]
        events = sorted(
            [(one.asked, True, one) for one in known] + [(one.stored, False, one) for one in known],
            key=lambda event: event[0],
        )
        highest = 0
        before: dict[str, int] = {}
        for _, begins, one in events:
            if begins:
                before[one.mark] = highest
            else:
                self.assertGreater(one.uid, before[one.mark])
                highest = max(highest, one.uid)
