"""One open file and its transactions: what every part of ``Mailbox`` works with."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import apsw

from mailsrv.mailbox.transaction import Database, Writer


class Opened:
    """A file at ``path``, open as ``database``."""

    def __init__(self, path: Path, database: Database) -> None:
        self.path = path
        self._database = database

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._database.keeper.close(self._database.connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def id(self) -> str:
        """The ObjectID that is the file's name."""
        return self.path.stem

    @property
    def connection(self) -> apsw.Connection:
        """SQLite's own connection, for what this class does not do."""
        return self._database.connection

    @property
    def fence(self) -> Callable[[], None]:
        """Called in each write transaction once the write lock is held; refuses by raising."""
        return self._database.fence

    @fence.setter
    def fence(self, fence: Callable[[], None]) -> None:
        self._database.fence = fence

    @contextmanager
    def reading(self) -> Iterator[apsw.Connection]:
        """A snapshot for several reads."""
        with self._database.reading() as connection:
            yield connection

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Nobody of this process begins to write meanwhile, if the log is shipped. MailboxBusy."""
        with self._database.keeper.turn(self.connection):
            yield

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[Writer]:
        """Hold the write lock: a transaction that commits at the end, or rolls back."""
        with self._database.writing(durable=durable) as writer:
            yield writer
