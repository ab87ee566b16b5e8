"""A mailbox opened with its owner's password, beside the server that may have it open too.

Each write asks the directory, with the write lock held, whether the file is still the current one
(``store.mailboxes`` tells why), so a password change meanwhile ends the work and loses nothing.
Mail that waits sealed is copied in, and not removed: two processes must not both take from its
file. The server finds at the next login that it is there already, by the delivery ids.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

import attrs

from mailsrv.directory.directory import Directory
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.store.authentication import Authentication, Opened
from mailsrv.store.home import Home
from mailsrv.store.merge import copy_in
from mailsrv.store.secret import ServerSecret
from mailsrv.store.usage import Usages
from mailsrv.store.volume import Volume
from mailsrv.store.waiting import WaitingFiles

TOUCHED_EVERY = 3.0
"""Seconds between two words to the server while mail comes in."""


@attrs.define
class Owned:
    """The open mailbox, whose it is, and what counts its quota."""

    opened: Opened = attrs.field(repr=False)
    mailbox: Mailbox
    usages: Usages
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
        self._directory.touch(self.opened.alias)

    def bring_in_waiting(self) -> int:
        """Copy mail that waits for the next login; how many messages."""
        return copy_in(self._files, self.mailbox, self.opened.alias)


@contextmanager
def owned(
    directory: Directory,
    volume: Volume,
    primary: str,
    now: Callable[[], datetime],
    address: str,
    password: str,
) -> Iterator[Owned]:
    """Open the mailbox of an address. AuthenticationFailed; Elsewhere where it is not here.

    ``password`` is the main one. The server is told at the end if anything was changed.
    """
    secret = ServerSecret(volume.server_key())
    opened = Authentication(directory, secret).with_password(address, password, None)
    home = Home(directory, primary)
    home.check_current(opened.alias, opened.mailbox)
    files = WaitingFiles(volume, secret)
    with Mailbox.open(volume.mailbox(opened.mailbox), opened.key, now) as mailbox:
        mailbox.fence = lambda: home.check_current(opened.alias, opened.mailbox)
        yield Owned(opened, mailbox, Usages(directory, files), directory, files)
