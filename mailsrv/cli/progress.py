"""How far a command is, on standard error, for who looks at it; nothing for programs."""

import sys
import time
from types import TracebackType
from typing import Self

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from mailsrv.cli.sizes import spoken

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


SHOWN_EVERY = 0.1
"""Seconds between two looks: more would cost more than the work itself."""


class MessagesBar:
    """Counts messages and octets; ``total`` messages are None where they are not known."""

    def __init__(self, total: int | None, *, quiet: bool) -> None:
        self._bar: Progress | None = None
        self._shown = 0.0
        if not quiet and sys.stderr.isatty():
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("messages"),
                TextColumn("{task.fields[octets]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task("", total=total, octets="")

    def __enter__(self) -> Self:
        if self._bar is not None:
            try:
                self._bar.start()
            except BaseException:  # Ctrl-C comes at any moment, and has to leave a cursor
                self._bar.stop()
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, folder: str, messages: int, octets: int) -> None:
        """Show how far it is, not too often."""
        now = time.monotonic()
        if self._bar is not None and now - self._shown >= SHOWN_EVERY:
            self._shown = now
            self._bar.update(
                self._task, description=folder, completed=messages, octets=spoken(octets)
            )
