"""Addresses of clients: which are one, and which belong to a network."""

from ipaddress import ip_address, ip_network

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.networks import is_within, network_of, parse_host


class NetworkTests(SynchronousTestCase):
    def test_what_counts_as_one_client(self) -> None:
        for host, expected in (
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
            ("fe80::1%eth0", "fe80::/64"),
            ("somewhere", "somewhere"),
            ("/run/socket", "/run/socket"),
            (None, "local"),
        ):
            self.assertEqual(network_of(host), expected)

    def test_neighbours_are_one_and_networks_are_not(self) -> None:
        self.assertEqual(network_of("2001:db8::1"), network_of("2001:db8::ffff%eth0"))
        self.assertNotEqual(network_of("2001:db8::1"), network_of("2001:db8:0:1::1"))

    def test_hosts(self) -> None:
        self.assertEqual(parse_host("::ffff:192.0.2.1"), ip_address("192.0.2.1"))
        self.assertEqual(parse_host("fe80::1%eth0"), ip_address("fe80::1"))
        for other in ("", "localhost", "/run/socket", "192.0.2", "192.0.2.1:25"):
            self.assertIsNone(parse_host(other))

    def test_within(self) -> None:
        networks = [ip_network("192.0.2.0/24"), ip_network("fe80::/64")]
        for host, expected in (
            ("192.0.2.7", True),
            ("::ffff:192.0.2.7", True),
            ("fe80::1%eth0", True),
            ("198.51.100.1", False),
            ("fe80:0:0:1::1", False),
            ("/run/socket", False),
            ("", False),
        ):
            self.assertEqual(is_within(host, networks), expected)
        self.assertFalse(is_within("192.0.2.7", []))
