"""A mailbox that a command opens with its owner's password, while the server may have it open.

SQLite sees to it that the two do not harm each other; the fence, that nothing is written into a
file that a password change has replaced. What was written is told to the server by way of the
directory, and it tells the sessions.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import attrs

from mailsrv.directory.directory import Alias, Directory
from mailsrv.errors import AliasDisabled, InvalidInput
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.store.authentication import Authentication
from mailsrv.store.home import Home
from mailsrv.store.secret import ServerSecret
from mailsrv.store.values import ExpungedQuery, Purged, Scope, Undeleted
from mailsrv.store.volume import Volume


@attrs.frozen
class Beside:
    """Blocking; for the command line. ``primary`` is the name of the one that has the volume."""

    directory: Directory
    volume: Volume
    now: Callable[[], datetime]
    primary: str
    keep_expunged: timedelta | None = None
    """As for ``Mailbox.open``."""

    @contextmanager
    def open(self, address: str, password: str, scope: Scope | None) -> Iterator["OpenedBeside"]:
        """The mailbox of an address; ``scope`` as in ``Authentication.with_password``.

        NoSuchAlias, AliasDisabled, AuthenticationFailed, InvalidInput where another primary
        has it, and what opening raises.
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
        authentication = Authentication(self.directory, ServerSecret(self.volume.server_key()))
        opened = authentication.with_password(alias.address, password, scope)
        home = Home(self.directory, self.primary)
        path = self.volume.mailbox(opened.mailbox)
        with Mailbox.open(path, opened.key, self.now, keep_expunged=self.keep_expunged) as mailbox:
            mailbox.fence = lambda: home.check_current(alias.id, opened.mailbox)
            yield OpenedBeside(self.directory, alias, mailbox)


@attrs.frozen
class OpenedBeside:
    """An open mailbox, and what is written to it so that the server hears of it."""

    directory: Directory
    alias: Alias
    mailbox: Mailbox

    def undelete(self, which: ExpungedQuery, to: str | None) -> Undeleted:
        """As ``Mailbox.undelete``."""
        undeleted = self.mailbox.undelete(which, to)
        if undeleted.messages:
            self.directory.add_usage(
                self.alias.id, 0, undeleted.messages, recoverable=-undeleted.octets
            )
            self.directory.touch(self.alias.id)
        return undeleted

    def purge(self, which: ExpungedQuery) -> Purged:
        """As ``Mailbox.purge``. No session has to hear of it."""
        purged = self.mailbox.purge(which)
        if purged.messages:
            self.directory.add_usage(self.alias.id, -purged.octets, 0, recoverable=-purged.octets)
        return purged
