"""A mailbox that a command opens with its owner's password, while the server may have it open.

SQLite sees to it that the two do not harm each other; the fence, that nothing is written into a
file that a password change has replaced: each write asks the directory, with the write lock held,
whether the file is still the current one (``store.mailboxes`` tells why). What was written is told
to the server by way of the directory, and it tells the sessions.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import attrs

from mailsrv.directory.directory import Alias, Directory
from mailsrv.errors import AliasDisabled, InvalidInput
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.store.authentication import Authentication, Opened
from mailsrv.store.home import Home
from mailsrv.store.merge import copy_in
from mailsrv.store.secret import ServerSecret
from mailsrv.store.usage import Usages
from mailsrv.store.values import ExpungedQuery, Purged, Scope, Undeleted
from mailsrv.store.volume import Volume
from mailsrv.store.waiting import WaitingFiles

TOUCHED_EVERY = 3.0
"""Seconds between two words to the server while mail comes in."""


@attrs.frozen
class Beside:
    """Blocking; for the command line. ``primary`` is the name of the one that has the volume."""

    directory: Directory
    volume: Volume
    now: Callable[[], datetime]
    primary: str
    keep_expunged: timedelta | None = None
    """As for ``Mailbox.open``."""

    def alias(self, address: str) -> Alias:
        """That of an address.

        NoSuchAlias, AliasDisabled, InvalidInput where another primary has its mailbox.
        """
        alias = self.directory.alias(address)
        if alias.primary != self.primary:
            raise InvalidInput(
                f"{alias.address} is served by primary {alias.primary}: run this there"
            )
        if not alias.active:
            raise AliasDisabled(
                f"{alias.address} is disabled or deleted: 'mailsrv alias list' tells which"
            )
        return alias

    @contextmanager
    def open(self, address: str, password: str, scope: Scope | None) -> Iterator["OpenedBeside"]:
        """The mailbox of an address; ``scope`` as in ``Authentication.with_password``.

        NoSuchAlias, AliasDisabled, AuthenticationFailed, InvalidInput where another primary
        has it, and what opening raises.
        """
        alias = self.alias(address)
        secret = ServerSecret(self.volume.server_key())
        authentication = Authentication(self.directory, secret)
        opened = authentication.with_password(alias.address, password, scope)
        home = Home(self.directory, self.primary)
        files = WaitingFiles(self.volume, secret)
        path = self.volume.mailbox(opened.mailbox)
        with Mailbox.open(path, opened.key, self.now, keep_expunged=self.keep_expunged) as mailbox:
            mailbox.fence = lambda: home.check_current(alias.id, opened.mailbox)
            usages = Usages(self.directory, files)
            yield OpenedBeside(alias, opened, mailbox, usages, self.directory, files)


@attrs.define
class OpenedBeside:
    """An open mailbox, and what is written to it so that the server hears of it."""

    alias: Alias
    opened: Opened = attrs.field(repr=False)
    mailbox: Mailbox
    usages: Usages
    """Of this process: what the server counts comes by way of the directory."""
    _directory: Directory
    _files: WaitingFiles
    _told: float = 0.0

    def changed(self) -> None:
        """Tell the server that there is something new, not too often."""
        if time.monotonic() - self._told >= TOUCHED_EVERY:
            self.touch()

    def touch(self) -> None:
        """Tell the server, which tells the sessions."""
        self._told = time.monotonic()
        self._directory.touch(self.alias.id)

    def bring_in_waiting(self) -> int:
        """Copy mail that waits for the next login; how many messages.

        It is not removed: two processes must not both take from its file. The server finds at the
        next login that it is there already, by the delivery ids.
        """
        return copy_in(self._files, self.mailbox, self.alias.id)

    def undelete(self, which: ExpungedQuery, to: str | None) -> Undeleted:
        """As ``Mailbox.undelete``."""
        undeleted = self.mailbox.undelete(which, to)
        if undeleted.messages:
            self._directory.add_usage(
                self.alias.id, 0, undeleted.messages, recoverable=-undeleted.octets
            )
            self.touch()
        return undeleted

    def purge(self, which: ExpungedQuery) -> Purged:
        """As ``Mailbox.purge``. No session has to hear of it."""
        purged = self.mailbox.purge(which)
        if purged.messages:
            self._directory.add_usage(self.alias.id, -purged.octets, 0, recoverable=-purged.octets)
        return purged
