"""A progress bar on standard error for who looks at it; nothing for programs."""

import sys
import time
from types import TracebackType
from typing import Self

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
