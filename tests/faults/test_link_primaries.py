"""Two primaries on PostgreSQL, Redis for the counters, and a mailbox that moves while in use."""

import atexit
import itertools
import subprocess
import threading
import time
from collections.abc import Callable
from functools import cache

from tests import postgresql, redis
from tests.faults.cluster import Cluster, Node
from tests.faults.common import SOAK
from tests.faults.link_case import LinkTestCase
from tests.faults.link_model import Append, Box, Deliver, Session, Unknown, asked

_numbers = itertools.count()
MOVE_SECONDS = 60


@cache
def two_primaries() -> Cluster:
    counters = redis.Server()
    counters.start()
    atexit.register(counters.remove)
    names = ("one", "two")
    url = postgresql.server().create()
    return Cluster(names, directory=url, redis=counters.url).start()


class Load:
    """A sender at each secondary and a client that stays connected, until it is stopped."""

    def __init__(self, senders: list[Session], client: Session) -> None:
        self.acknowledged: set[str] = set()
        self.unknown: set[str] = set()
        self.failures: list[BaseException] = []
        self._over = threading.Event()
        client.client("INBOX")
        self._threads = [
            threading.Thread(target=self._run, args=(kind, session))
            for kind, session in (
                *((Deliver, sender) for sender in senders),
                (lambda mark: Append("INBOX", mark), client),
            )
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, kind: Callable[[str], Append | Deliver], session: Session) -> None:
        try:
            while not self._over.wait(0.01):
                mark = f"load-{next(_numbers)}"
                try:
                    asked(kind(mark), session)
                except Unknown:
                    self.unknown.add(mark)
                else:
                    self.acknowledged.add(mark)
        except BaseException as error:  # noqa: BLE001
            self.failures.append(error)

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


class TwoPrimariesTests(LinkTestCase):
    if problem := postgresql.missing() or redis.missing():
        skip = problem

    def make_cluster(self) -> Cluster:
        return two_primaries()

    def setUp(self) -> None:
        super().setUp()
        self.one, self.two = self.cluster.primaries.values()
        self.fill("INBOX", "first", "second")

    def move(self, target: str) -> "subprocess.Popen[bytes]":
        """``mailsrv mailbox move`` in a process of its own."""
        return self.one.spawn(
            *("mailbox", "move", self.address, target),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def moved(self, target: str) -> None:
        process = self.move(target)
        output, _ = process.communicate(timeout=MOVE_SECONDS)
        self.assertEqual(process.returncode, 0, output.decode())

    def lies_at(self) -> str:
        (shown,) = [
            one for one in self.one.command("mailbox", "list") if one["address"] == self.address
        ]
        return shown["primary"]

    def other(self) -> str:
        """The name of the primary where it does not lie."""
        return {"one": "two", "two": "one"}[self.lies_at()]

    def exactly_once(self, load: Load, *before: str) -> None:
        self.assertEqual(load.failures, [])
        self.assertTrue(load.acknowledged)
        seen = self.session(self.cluster.b).see()
        marks = [one.mark for one in seen.folders["INBOX"]]
        self.assertEqual(len(marks), len(set(marks)), "doubled")
        self.assertEqual((load.acknowledged | set(before)) - set(marks), set(), "lost")
        self.assertLessEqual(set(marks), load.acknowledged | load.unknown | set(before))

    def under_load(self, what: Callable[[], object]) -> None:
        client = self.session(self.cluster.b)
        load = Load([self.a, self.b], client)
        connection = client.client()
        try:
            what()
        finally:
            load.stop()
        self.assertIs(client.client(), connection, "the client had to connect again")
        connection.ok("NOOP")
        self.exactly_once(load, "first", "second")

    def test_each_secondary_serves_the_addresses_of_both(self) -> None:
        other = f"other-{self.address}"
        password = self.two.add(other)
        for node in (self.cluster.a, self.cluster.b):
            session = Session(self.cluster, node, other, password)
            self.addCleanup(session.forget)
            asked(Append("INBOX", f"at-{node.name}"), session)
            self.do(Deliver(f"to-{node.name}"), self.session(node))
        marks = [one.mark for one in session.see().folders["INBOX"]]
        self.assertEqual(marks, ["at-a", "at-b"])
        self.agree()

    def test_a_move_under_load(self) -> None:
        def there_and_back() -> None:
            for target in ("two", "one") * (20 if SOAK else 1):
                self.moved(target)
                self.assertEqual(self.lies_at(), target)

        self.under_load(there_and_back)

    def test_an_idle_client_moves_along(self) -> None:
        client = self.b.client("INBOX")
        idle = client.idle()
        self.moved("two")
        self.do(Deliver("third"))
        while client.exists != 3:
            client.hear("EXISTS")
        client.done(idle)
        self.agree()

    def test_mail_that_waits_moves_along(self) -> None:
        self.agree()
        self.a.forget()
        self.b.forget()
        self.do(Deliver("waits"))
        self.moved("two")
        self.agree()

    def killed(self, node: Node | None) -> None:
        """Kill one of the three at some instant of a move, then move once more."""
        target = self.cluster.primaries[self.other()]
        mailboxes = target.folder / "mailboxes"
        before = set(mailboxes.iterdir())
        process = self.move(target.name)
        self.eventually(lambda: set(mailboxes.iterdir()) != before)
        time.sleep(self.dice.uniform(0, 0.2))
        if node is None:
            process.kill()
        else:
            node.restart()
        process.communicate(timeout=MOVE_SECONDS)
        self.moved(self.other())

    def test_who_takes_part_dies(self) -> None:
        """The mover, the source or the target: one of them, under MAILSRV_SOAK all, often."""
        victims: list[Callable[[], Node | None]] = [
            lambda: None,
            lambda: self.cluster.primaries[self.lies_at()],
            lambda: self.cluster.primaries[self.other()],
        ]
        for victim in victims * 50 if SOAK else [self.dice.choice(victims)]:
            self.under_load(lambda victim=victim: self.killed(victim()))
            self.forget_all()

    def forget_all(self) -> None:
        """An empty mailbox again, for the next round."""
        client = self.a.client("INBOX")
        client.ok("STORE 1:* +FLAGS.SILENT (\\Deleted)")
        client.ok("EXPUNGE")
        self.box = Box()
        self.fill("INBOX", "first", "second")
