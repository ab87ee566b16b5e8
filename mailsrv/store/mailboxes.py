"""From a session's access to its open mailbox, fenced against writes to old files."""

from collections.abc import Iterator
from contextlib import contextmanager

from mailsrv.errors import MailboxMissing
from mailsrv.keys.filekey import FileKey
from mailsrv.keys.vault import Vault
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.store.authentication import Opened
from mailsrv.store.connections import Connections
from mailsrv.store.home import Home
from mailsrv.store.values import Access
from mailsrv.store.volume import Volume


class Mailboxes:
    """Blocking; for worker threads."""

    def __init__(self, home: Home, volume: Volume, vault: Vault, connections: Connections) -> None:
        self._home = home
        self._volume = volume
        self._vault = vault
        self._connections = connections

    @contextmanager
    def of(self, access: Access) -> Iterator[Mailbox]:
        """The mailbox of a session, for this thread.

        KeyGone, MailboxMoved, Elsewhere and what open raises.
        """
        path = self._volume.mailbox(access.mailbox)
        try:
            with self._connections.use(
                # asked after the write lock was taken: who changes a password holds that lock
                # until the directory names the new file, so no write ever lands in a file that
                # was replaced
                path,
                lambda: self._key(access),
                lambda: self._home.check_current(access.alias, access.mailbox),
            ) as mailbox:
                yield mailbox
        except MailboxMissing:
            self._home.check_current(access.alias, access.mailbox)
            raise

    @contextmanager
    def with_key(self, access: Access) -> Iterator[tuple[Mailbox, FileKey]]:
        """The same, with the key that opens it: for who opens it once more, or a copy of it."""
        with self.of(access) as mailbox:
            yield mailbox, self._key(access)

    @contextmanager
    def just_opened(self, opened: Opened) -> Iterator[Mailbox]:
        """The mailbox of who has this moment proved to own it. MailboxMoved, Elsewhere."""
        alias, file_id = opened.alias, opened.mailbox
        self._home.check_current(alias, file_id)
        with self._connections.use(
            self._volume.mailbox(file_id),
            lambda: opened.key,
            # outlives this call, and so must not hold the key
            lambda: self._home.check_current(alias, file_id),
        ) as mailbox:
            yield mailbox

    def forget(self, mailbox: str) -> None:
        """Close what is open of a file that no session holds a key of any more."""
        self._connections.drop(self._volume.mailbox(mailbox))

    def _key(self, access: Access) -> FileKey:
        with self._vault.use(access.key) as packed:
            return FileKey.unpack(packed)
