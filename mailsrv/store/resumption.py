"""Sessions whose keys a secondary kept while this primary was away: entered again, without keys.

A mailbox that was moved here lies in another file than the session knows, and so does one whose
password was changed. The first 16 octets of a file are the salt of its key, and a move keeps them:
the key that is lent must carry them, or the session ends.
"""

import hmac
from collections.abc import Callable, Sequence

import attrs
import msgspec

from mailsrv.directory.directory import Directory
from mailsrv.directory.values import MailboxRecord
from mailsrv.errors import InvalidInput, KeyGone
from mailsrv.keys.filekey import SALT_LENGTH, FileKey
from mailsrv.keys.vault import new_handle
from mailsrv.store.entrance import Entrance
from mailsrv.store.interfaces import IListener
from mailsrv.store.leases import Leases
from mailsrv.store.revocation import PASSWORD_CHANGED, reason_to_end, standings_of
from mailsrv.store.sessions import Session, Sessions
from mailsrv.store.values import Access
from mailsrv.store.volume import Volume
from mailsrv.store.waiting import WaitingFiles
from mailsrv.store.workers import Workers


@attrs.frozen
class _Found:
    record: MailboxRecord
    salt: bytes | None
    mail_waits: bool


class Resumption:
    """Reactor's thread, but for ``_look``.

    ``waits`` hears of each alias whose mail waits and whose owner is here again.
    """

    def __init__(
        self,
        *,
        workers: Workers,
        directory: Directory,
        name: str,
        volume: Volume,
        files: WaitingFiles,
        sessions: Sessions,
        leases: Leases,
        entrance: Entrance,
        waits: Callable[[str], None],
    ) -> None:
        self._workers = workers
        self._directory = directory
        self._name = name
        self._volume = volume
        self._files = files
        self._sessions = sessions
        self._leases = leases
        self._entrance = entrance
        self._waits = waits

    async def resume(
        self, accesses: Sequence[Access], listeners: Sequence[IListener | None]
    ) -> list[Access | str]:
        """As ``IPrimary.resume``."""
        if len(accesses) != len(listeners):
            raise InvalidInput("expected a listener or None for each session")
        began = self._entrance.serial()
        revision, found = await self._workers.run(self._look, accesses)
        answers: list[Access | str] = []
        for access, listener, one in zip(accesses, listeners, found, strict=True):
            if isinstance(one, str):
                answers.append(one)
            else:
                answers.append(self._enter(access, listener, one, began, revision))
        for alias in {
            access.alias
            for access, one in zip(accesses, found, strict=True)
            if isinstance(one, _Found) and one.mail_waits
        }:
            self._waits(alias)
        return answers

    def lend(self, access: Access, key: bytes) -> None:
        """As ``IPrimary.lend``."""
        session = self._sessions.check(access)
        if not session.leased:
            raise InvalidInput("the key of this session is not lent")
        salt = FileKey.unpack(key).salt
        if session.salt is not None and not hmac.compare_digest(salt, session.salt):
            self._entrance.end(session, PASSWORD_CHANGED)
            raise KeyGone(PASSWORD_CHANGED)
        self._leases.begin(session, key)

    def _enter(
        self, access: Access, listener: IListener | None, found: _Found, began: int, revision: int
    ) -> Access | str:
        entered = msgspec.structs.replace(access, mailbox=found.record.id, key=new_handle())
        session = Session(
            entered,
            listener,
            found.record.public_key,
            leased=True,
            key_here=False,
            began=began,
            salt=found.salt,
        )
        try:
            self._entrance.settle(session, revision)
        except KeyGone as error:
            return str(error)
        return entered

    def _look(self, accesses: Sequence[Access]) -> tuple[int, list[_Found | str]]:
        revision = self._directory.revision()
        standings = standings_of(self._directory, accesses)
        found: list[_Found | str] = []
        for access in accesses:
            standing = standings[access.alias]
            reason = reason_to_end(standing, self._name, access, same_file=False)
            if reason is not None or standing is None or standing.record is None:
                found.append(reason or PASSWORD_CHANGED)
                continue
            record = standing.record
            if record.restored is not None:
                # it holds what a backup held: what the session knows is not true any more
                found.append(PASSWORD_CHANGED)
                continue
            salt = None if record.id == access.mailbox else self._salt(record.id)
            found.append(_Found(record, salt, self._files.exist(record.public_key)))
        return revision, found

    def _salt(self, mailbox: str) -> bytes:
        with self._volume.mailbox(mailbox).open("rb") as file:
            return file.read(SALT_LENGTH)
