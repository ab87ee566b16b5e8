"""Where the directory's tests run: the same tests on SQLite and on PostgreSQL."""

from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from sqlalchemy import NullPool, create_engine, text
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.directory.directory import Alias, Directory, MailboxRecord
from mailsrv.keys.credential import Credential, make_credential
from mailsrv.keys.filekey import FileKey
from mailsrv.keys.objectid import object_id
from tests import postgresql

SALT = bytes(range(16))
ITERATIONS = 4096
KEY = FileKey(raw=bytes(32), salt=bytes(16))


class Clock:
    """A time that goes on by a second whenever it is asked."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.time += timedelta(seconds=1)
        return self.time


class DirectoryCase(SynchronousTestCase):
    """An empty, migrated directory and some shorthand."""

    url: str
    clock: Clock
    directory: Directory

    def new_url(self) -> str:
        raise NotImplementedError

    def setUp(self) -> None:
        self.url = self.new_url()
        self.clock = Clock()
        self.directory = self.open()
        self.directory.migrate()

    def open(self) -> Directory:
        """Another Directory on the same database, as another process has it."""
        opened = Directory(self.url, self.clock)
        self.addCleanup(opened.close)
        return opened

    def add_alias(self, address: str = "hello@example.com") -> Alias:
        name = address.rpartition("@")[2]
        if name not in {domain.name for domain in self.directory.domains()}:
            self.directory.add_domain(name)
        return self.directory.add_alias(address)

    def add_mailbox(self, alias_id: str, *labels: str, replaces: str | None = None) -> str:
        """Name a new file with a credential for each label; return the file's id."""
        record = self.record()
        self.directory.set_mailbox(
            alias_id,
            record,
            credentials=[self.credential(alias_id, label) for label in labels or ("main",)],
            salt=SALT,
            iterations=ITERATIONS,
            replaces=replaces,
            archive=False,
        )
        return record.id

    def record(self) -> MailboxRecord:
        identity = object_id(self.clock())
        return MailboxRecord(
            id=identity, public_key=identity.encode() * 50, created="2026-11-23T10:00:00Z"
        )

    def credential(self, alias_id: str, label: str = "main", salt: bytes = SALT) -> Credential:
        return make_credential(
            f"password of {label}",
            salt=salt,
            iterations=ITERATIONS,
            file_key=KEY,
            alias=alias_id,
            label=label,
            scopes=("imap", "smtp"),
            main=label == "main",
            now=self.clock(),
        )


class OnSQLite(DirectoryCase):
    def new_url(self) -> str:
        return f"sqlite:///{Path(self.mktemp()).absolute()}"


@cache
def _shared_url() -> str:
    url = postgresql.server().create()
    directory = Directory(url, Clock())
    directory.migrate()
    directory.close()
    return url


class OnPostgreSQL(DirectoryCase):
    """On one database that is emptied for each test, which is ten times faster than making one."""

    skip = postgresql.missing()

    def new_url(self) -> str:
        url = _shared_url()
        engine = create_engine(url, poolclass=NullPool)
        with engine.begin() as connection:
            connection.execute(text("TRUNCATE account, volume, erasure CASCADE"))
            connection.execute(text("UPDATE revision SET value = 0"))
        return url


class OnNewPostgreSQL(DirectoryCase):
    """On a database of its own that has no tables yet, for tests of migrations."""

    skip = postgresql.missing()

    def new_url(self) -> str:
        server = postgresql.server()
        url = server.create()
        self.addCleanup(server.drop, url)
        return url
