"""What one network address may do at all its connections together."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.imap import addresses
from mailsrv.imap.addresses import Addresses, network_of


class AddressesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.addresses = Addresses(self.clock, 10, 2)

    def test_networks(self) -> None:
        self.assertEqual(network_of("192.0.2.1"), "192.0.2.1")
        self.assertEqual(network_of("::ffff:192.0.2.1"), "192.0.2.1")
        self.assertEqual(network_of("2001:db8::1"), network_of("2001:db8::ffff%eth0"))
        self.assertNotEqual(network_of("2001:db8::1"), network_of("2001:db8:0:1::1"))
        self.assertEqual(network_of("/run/socket"), "/run/socket")

    def test_delays_grow_and_are_forgotten(self) -> None:
        self.assertEqual([self.addresses.failed("a") for _ in range(6)], [2, 4, 8, 15, 15, 15])
        self.assertEqual(self.addresses.failed("b"), 2)
        self.clock.advance(addresses.FORGET_AFTER + 1)
        self.assertEqual(self.addresses.failed("a"), 2)
        self.addresses.succeeded("a")
        self.assertEqual(self.addresses.failed("a"), 2)

    def test_memory_is_bounded(self) -> None:
        self.patch(addresses, "REMEMBERED", 100)
        for number in range(1000):
            self.addresses.failed(f"address {number}")
        self.assertEqual(self.addresses.failed("address 999"), 4)
        self.assertEqual(self.addresses.failed("address 0"), 2)

    def test_leaving_makes_room(self) -> None:
        self.assertTrue(self.addresses.enter("a"))
        self.assertTrue(self.addresses.enter("a"))
        self.assertFalse(self.addresses.enter("a"))
        self.addresses.leave("a")
        self.assertTrue(self.addresses.enter("a"))
