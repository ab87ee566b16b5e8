"""The primary, or the way to it, is away: for a while, for too long, half, or nearly."""

import signal
import threading
import time
from collections.abc import Callable
from functools import cache

from tests.clients.imap_client import Literal
from tests.faults.cluster import Cluster
from tests.faults.common import SOAK
from tests.faults.link_case import SECONDS, LinkTestCase
from tests.faults.link_frames import DOWN, UP
from tests.faults.link_model import Append, Deliver, Store, content, perform

PATIENCE = 1.5
HALF_OPEN_SECONDS = 15.0
"""After so long a link without any sign of life is given up (link-halfopen)."""


class PatientTests(LinkTestCase):
    """The standard patience: 30 seconds."""

    def test_clients_sit_through_a_restart(self) -> None:
        """Ten seconds: reads, writes, logins and deliveries wait, and then succeed."""
        self.fill("INBOX", "first")
        self.agree()
        done: list[str] = []

        def note(name: str, what: Callable[[], object]) -> None:
            what()
            done.append(name)

        a, b, late = self.a.client("INBOX"), self.b.client("INBOX"), self.session(self.cluster.b)
        idle = b.idle()
        self.primary.kill()
        waiting = [
            threading.Thread(target=note, args=work)
            for work in (
                ("append", lambda: self.do(Append("INBOX", "second"))),
                ("login", lambda: late.client("INBOX")),
                ("deliver", lambda: self.assertEqual(self.deliver("third"), "250 2.0.0")),
            )
        ]
        for thread in waiting:
            thread.start()
        time.sleep(25 if SOAK else 10)
        self.assertEqual(done, [])
        self.primary.start()
        begun = time.monotonic()
        for thread in waiting:
            thread.join()
        self.assertLess(time.monotonic() - begun, SECONDS)
        self.assertEqual(sorted(done), ["append", "deliver", "login"])
        while b.exists != 3:
            b.hear("EXISTS")
        b.done(idle)
        a.ok("NOOP")
        self.assertEqual(a.exists, 3)

    def deliver(self, mark: str) -> str:
        return self.cluster.b.deliver(content(mark), self.address)

    def test_a_slow_link_carries_all(self) -> None:
        """Delayed, and 5 KiB a second: slow answers, right ones."""
        proxy = self.cluster.a.proxy
        self.fill("INBOX", "first", "second")
        proxy.delay = 2.0 if SOAK else 0.3
        self.do(Append("INBOX", "third"))
        self.do(Deliver("fourth"))
        proxy.delay, proxy.octets_per_second = 0.0, 5 * 1024
        self.do(Append("INBOX", "fifth"))
        self.do(Store("INBOX", self.box.uids("INBOX"), "\\Flagged"))
        proxy.heal()
        self.agree()

    def test_a_slow_reader_holds_back_only_itself(self) -> None:
        """A client that asks for much and reads nothing; another on the same link is served."""
        for number in range(8):
            self.do(Append("INBOX", f"{number}-big"))
        greedy = self.session(self.cluster.a).client("INBOX")
        for _ in range(20):
            greedy.begin("FETCH 1:* (BODY.PEEK[])")
        for _ in range(10):
            begun = time.monotonic()
            self.a.client().ok("NOOP")
            self.agree(self.b)
            self.assertLess(time.monotonic() - begun, SECONDS)


@cache
def impatient() -> Cluster:
    return Cluster(patience=PATIENCE).start()


class ImpatientTests(LinkTestCase):
    """Longer than the patience: NO [UNAVAILABLE] and 451, in time, and recovery by itself."""

    def make_cluster(self) -> Cluster:
        return impatient()

    def setUp(self) -> None:
        super().setUp()
        self.fill("INBOX", "first", "second")
        self.agree()
        self.a.client("INBOX")

    def refused(self) -> None:
        """Reads, writes, logins and deliveries are answered in time, with the right codes."""
        client = self.a.client("INBOX")
        for words in (["FETCH 1:* (BODY.PEEK[])"], ["STORE 1 +FLAGS (\\Flagged)"]):
            self.in_time(lambda words=words: self.unavailable(client.no(*words)))
        literal = Literal(content("lost"), plus=True)
        self.in_time(lambda: self.unavailable(client.no("APPEND INBOX ", literal)))
        with_mail = self.cluster.a.smtp()
        verdicts = with_mail.envelope(self.address)
        self.assertEqual(verdicts[1][:3], "451", verdicts)
        with_mail.close()

    def unavailable(self, answer: object) -> None:
        self.assertEqual(answer.status.code, "UNAVAILABLE")

    def in_time(self, ask: Callable[[], object]) -> None:
        begun = time.monotonic()
        ask()
        self.assertLess(time.monotonic() - begun, PATIENCE + 2)

    def recovers(self) -> None:
        """Both sessions are the old ones, and go on."""
        before, self.a.forget = self.a.client(), self.fail
        try:
            self.eventually(lambda: before.command("NOOP").status.kind == "OK")
            self.eventually(lambda: before.command("STORE 2 +FLAGS (\\Seen)").status.kind == "OK")
        finally:
            del self.a.forget
        seen = self.b.see()
        self.assertEqual([one.mark for one in seen.folders["INBOX"]], ["first", "second"])

    def test_the_primary_stays_away(self) -> None:
        self.primary.kill()
        self.refused()
        self.primary.start()
        self.recovers()

    def test_the_primary_hangs(self) -> None:
        """SIGSTOP: whatever it was asked meanwhile is done once at most when it goes on."""
        self.primary.send(signal.SIGSTOP)
        for number in range(3 if SOAK else 1):
            boxes = perform(Append("INBOX", f"hung-{number}"), self.a, self.box)
            self.assertEqual(len(boxes), 2)
        self.primary.send(signal.SIGCONT)
        self.eventually(lambda: self.a.client().command("NOOP").status.kind == "OK")
        marks = [one.mark for one in self.b.see().folders["INBOX"]]
        self.assertEqual(len(marks), len(set(marks)))
        self.assertLessEqual({"first", "second"}, set(marks))
        self.do_more()

    def do_more(self) -> None:
        self.box = self.b.see().box
        self.do(Append("INBOX", "more"))
        self.agree()

    def test_half_open(self) -> None:
        """Nothing passes and nobody says so: both sides notice, and the link comes back."""
        client, proxy = self.a.client("INBOX"), self.cluster.a.proxy
        for ways in ((UP,), (DOWN,), (UP, DOWN)) if SOAK else ((DOWN,),):
            proxy.stall(*ways)
            begun = time.monotonic()
            self.unavailable(client.no("FETCH 1 (BODY.PEEK[])"))
            self.assertLess(time.monotonic() - begun, HALF_OPEN_SECONDS + PATIENCE)
            proxy.resume()
            self.recovers()
