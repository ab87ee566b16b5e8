"""Sizes as people write and read them."""

import click
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.cli.sizes import Size, spoken


class SizeTests(SynchronousTestCase):
    def test_read(self) -> None:
        for text, octets in (
            ("0", 0),
            ("1000", 1000),
            ("500M", 500 * 1024**2),
            ("2GiB", 2 * 1024**3),
            ("1.5 gb", 3 * 1024**3 // 2),
            ("7B", 7),
        ):
            self.assertEqual(Size().convert(text, None, None), octets, text)

    def test_refused(self) -> None:
        for text in ("", "lots", "-1", "1X", "1e3", "1.5.2G", "9" * 20):
            self.assertRaises(click.BadParameter, Size().convert, text, None, None)

    def test_spoken(self) -> None:
        for octets, text in (
            (None, "no limit"),
            (0, "0 B"),
            (1536, "1.5 KiB"),
            (2 * 1024**4, "2 TiB"),
        ):
            self.assertEqual(spoken(octets), text)
