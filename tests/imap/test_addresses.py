"""What one network address may do at all its connections together."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.counters.memory import MemoryCounters
from mailsrv.imap import addresses
from mailsrv.imap.addresses import Addresses, account_of


class AddressesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.counters = MemoryCounters(self.clock)
        self.addresses = Addresses(self.counters, 10, 2)

    def failed(self, host: str, account: str = "") -> float:
        return self.successResultOf(self.addresses.failed(host, account))

    def test_delays_grow_and_are_forgotten(self) -> None:
        self.assertEqual([self.failed("a") for _ in range(6)], [2, 4, 8, 15, 15, 15])
        self.assertEqual(self.failed("b"), 2)
        self.clock.advance(addresses.FORGET_AFTER + 1)
        self.assertEqual(self.failed("a"), 2)
        self.addresses.succeeded("a")
        self.assertEqual(self.failed("a"), 2)

    def test_each_failure_puts_forgetting_off(self) -> None:
        for expected in (2, 4, 8):
            self.assertEqual(self.failed("a"), expected)
            self.clock.advance(addresses.FORGET_AFTER - 1)

    def test_guessing_from_many_networks_slows_down(self) -> None:
        delays = [self.failed(f"192.0.2.{n}", "alice@example.com") for n in range(15)]
        self.assertEqual(delays, [2] * 11 + [4, 8, 15, 15])
        self.assertEqual(self.failed("198.51.100.1", "bob@example.com"), 2)
        self.clock.advance(addresses.FORGET_AFTER + 1)
        self.assertEqual(self.failed("198.51.100.2", "alice@example.com"), 2)

    def test_an_owner_who_looks_for_mail_gives_guessers_no_fresh_count(self) -> None:
        for number in range(15):
            self.failed(f"192.0.2.{number}", "alice@example.com")
        self.addresses.succeeded("192.0.2.1")
        self.assertEqual(self.failed("192.0.2.1", "alice@example.com"), 15)
        self.assertEqual(self.failed("192.0.2.1", "bob@example.com"), 4)

    def test_spellings_of_an_account_are_one(self) -> None:
        names = (
            "alice@example.com",
            "ALICE@Example.COM",
            '"alice"@example.com',
            '"a\\lice"@exam\u00adple.com',
            "alice@\uff45xample.com.",
            "\u24d0lice@example.com",
        )
        self.assertEqual({account_of(name) for name in names}, {"alice@example.com"})
        self.assertNotEqual(account_of("alice@example.org"), account_of("alice@example.com"))
        for odd in ("", "@", "\udcff", "x" * 10_000):
            account_of(odd)

    def test_two_processes_with_the_same_counters(self) -> None:
        other = Addresses(self.counters, 10, 2)
        self.assertEqual(self.failed("a"), 2)
        self.assertEqual(self.successResultOf(other.failed("a", "")), 4)
        other.succeeded("a")
        self.assertEqual(self.failed("a"), 2)

    def test_leaving_makes_room(self) -> None:
        self.assertTrue(self.addresses.enter("a"))
        self.assertTrue(self.addresses.enter("a"))
        self.assertFalse(self.addresses.enter("a"))
        self.addresses.leave("a")
        self.assertTrue(self.addresses.enter("a"))
