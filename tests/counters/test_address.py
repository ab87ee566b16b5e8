"""The URL of Redis."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.counters.address import RedisAddress, parse_url
from mailsrv.counters.make import make_counters
from mailsrv.errors import InvalidInput

WRONG = (
    "redis",
    "redis://",
    "redis:///0",
    "redis://host:port/0",
    "redis://host:70000/0",
    "redis://host/zero",
    "redis://host/-1",
    "redis://host/1/2",
    "redis://host/0#1",
    "redis://host?db=1",
    "redis://[::1/0",
    "rediss://host/0",
    "http://host/0",
    "unix://",
    "unix://host/path",
    "unix:///path?db=x",
    "unix:///path?database=1",
    "unix:///path?db",
)


class UrlTests(SynchronousTestCase):
    def test_tcp(self) -> None:
        self.assertEqual(parse_url("redis://host"), RedisAddress(host="host"))
        self.assertEqual(
            parse_url("redis://me:s%40crt@[2001:db8::1]:1234/7"),
            RedisAddress(host="2001:db8::1", port=1234, database=7, user="me", password="s@crt"),
        )

    def test_unix_socket(self) -> None:
        self.assertEqual(parse_url("unix:///run/r.sock"), RedisAddress(path="/run/r.sock"))
        self.assertEqual(
            parse_url("unix://:secret@/run/a%20b?db=3"),
            RedisAddress(path="/run/a b", database=3, password="secret"),
        )

    def test_wrong_ones_are_named_without_their_password(self) -> None:
        for url in WRONG:
            secret = url.replace("://", "://me:hunter2@")
            for text in (url, secret):
                error = self.assertRaises(InvalidInput, make_counters, text, None)
                self.assertIn("redis_url: expected redis://", str(error))
                self.assertNotIn("hunter2", str(error))

    def test_no_representation_shows_the_password(self) -> None:
        address = parse_url("redis://:hunter2@host:1/0")
        self.assertNotIn("hunter2", repr(address) + str(address))
        self.assertEqual(str(address), "host:1")

    @given(st.text())
    def test_any_text(self, text: str) -> None:
        for url in (text, f"redis://{text}", f"unix://{text}"):
            try:
                parse_url(url)
            except InvalidInput:
                continue
