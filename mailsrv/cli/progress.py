"""One line on standard error that says how far a command is, for who looks at it."""

import sys
import time

import click

SAID_EVERY = 0.2
"""Seconds between two words of progress."""


class Line:
    """Says nothing where nobody looks, or when ``quiet``."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet or not sys.stderr.isatty()
        self._said = 0.0

    def say(self, text: str) -> None:
        """Take the place of what was said before, but not too often."""
        now = time.monotonic()
        if not self._quiet and now - self._said >= SAID_EVERY:
            self._said = now
            click.echo(f"\r\x1b[K{text}", nl=False, err=True)

    def end(self) -> None:
        """Leave nothing of it."""
        if self._said:
            click.echo("\r\x1b[K", nl=False, err=True)
