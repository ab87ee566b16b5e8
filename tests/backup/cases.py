"""A TestCase with a mailbox in a data directory, a store of objects and ``Daily`` over them."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.backup.daily import Daily, Outcome
from mailsrv.keys.filekey import FileKey
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import NewMessage
from mailsrv.settings import Backup
from mailsrv.store.authentication import Authentication
from mailsrv.store.secret import ServerSecret
from tests.backup.fakes import FakeStore, FakeStores
from tests.store.world import World

ADDRESS = "hello@example.com"
MARK = b"a mark that must be nowhere in clear"


class Clock:
    def __init__(self) -> None:
        self.moment = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def advance(self, **time: float) -> None:
        self.moment += timedelta(**time)


class DailyCase(SynchronousTestCase):
    backup = Backup()

    def setUp(self) -> None:
        self.clock = Clock()
        self.world = World(Path(self.mktemp()).absolute())
        self.addCleanup(self.world.directory.close)
        self.alias, self.password = self.world.mailbox(ADDRESS)
        self.store = FakeStore(Path(self.mktemp()).absolute())
        self.daily = self.make_daily()
        self.daily.prepare()

    def make_daily(self) -> Daily:
        world = self.world
        return Daily(world.directory, world.volume, FakeStores(self.store), self.backup, self.clock)

    @contextmanager
    def opened(self) -> Iterator[tuple[Mailbox, FileKey]]:
        secret = ServerSecret(self.world.volume.server_key())
        found = Authentication(self.world.directory, secret).with_password(
            ADDRESS, self.password, "imap"
        )
        path = self.world.volume.mailbox(found.mailbox)
        with Mailbox.open(path, found.key, self.clock) as mailbox:
            yield mailbox, found.key

    def add_message(self, text: bytes = MARK) -> None:
        with self.opened() as (mailbox, _):
            mailbox.append("INBOX", [NewMessage(b"Subject: x\r\n\r\n" + text + b"\r\n")], None)

    def back_up(self, pause: timedelta | None = None) -> Outcome:
        turn = self.daily.begin(self.alias, pause)
        try:
            with self.opened() as (mailbox, key):
                turn.copy(mailbox, key)
            outcome = turn.keep()
            turn.prune()
        finally:
            turn.end()
        return outcome

    def temporary(self) -> list[str]:
        return sorted(path.name for path in self.daily.folder.iterdir())
