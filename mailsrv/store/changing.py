"""What every change of an alias's mailbox file needs: its turn, a file in the making, a record.

Two changes of one alias exclude each other in all processes. A file is made under a lock of its
name, which tells who finds it after a crash that it never became anything (``orphans``).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

import attrs

from mailsrv.directory.directory import Alias, Directory, MailboxRecord
from mailsrv.directory.values import DEFAULT_PRIMARY
from mailsrv.errors import AliasDisabled, InvalidInput
from mailsrv.keys.credential import Credential, make_credential
from mailsrv.keys.filekey import FileKey, derive_file_key, new_salt
from mailsrv.keys.objectid import object_id
from mailsrv.keys.passwords import check_password, generate_password
from mailsrv.keys.scram import CHOSEN_ITERATIONS, GENERATED_ITERATIONS
from mailsrv.store.authentication import Authentication
from mailsrv.store.secret import ServerSecret
from mailsrv.store.values import ALL_SCOPES
from mailsrv.store.volume import Volume
from mailsrv.store.workers import log_unexpected

MAIN_LABEL = "main"

PATIENCE = 5.0
"""Seconds to wait for another change of the same alias."""


class Changing:
    """Over one directory and one volume. ``now`` tells the time in UTC.

    ``primary`` is the name of the one that the volume belongs to: addresses that another one
    serves are refused (InvalidInput), since their files are not here.
    """

    def __init__(
        self,
        directory: Directory,
        volume: Volume,
        now: Callable[[], datetime],
        primary: str = DEFAULT_PRIMARY,
    ) -> None:
        self._directory = directory
        self._volume = volume
        self._now = now
        self._primary = primary
        self._secret = ServerSecret(volume.server_key())
        self._authentication = Authentication(directory, self._secret)

    @contextmanager
    def _changing(self, address: str) -> Iterator[Alias]:
        alias = self._here(address)
        self._volume.prepare()
        with self._volume.exclusive(alias.id, PATIENCE):
            # a move that was under way had the lock until now
            yield self._here(address)

    def _here(self, address: str) -> Alias:
        alias = self._served(address)
        if alias.deleted is not None:
            raise AliasDisabled(
                f"{alias.address} was deleted at {alias.deleted}: undelete it first"
            )
        return alias

    def _served(self, address: str) -> Alias:
        alias = self._directory.alias(address)
        if alias.primary != self._primary:
            raise InvalidInput(
                f"{alias.address} is served by primary {alias.primary}: run this there"
            )
        return alias

    @contextmanager
    def _new_file(self, alias: Alias) -> Iterator[str]:
        """A name for a file in the making; what was made under it goes if the work fails.

        Once the directory names the file the change has happened, whatever fails after that:
        its password must reach the owner, so no error does instead.
        """
        file_id = object_id(self._now())
        with self._volume.exclusive(file_id):
            try:
                yield file_id
            except BaseException as error:
                record = self._directory.settled_mailbox(alias.id)
                if record is None or record.id != file_id:
                    self._volume.remove_mailbox(file_id)
                    raise
                if not isinstance(error, Exception):
                    raise
                log_unexpected(error)

    def _record(self, file_id: str, public_key: bytes) -> MailboxRecord:
        return MailboxRecord(
            id=file_id, public_key=public_key, created=iso(self._now()), primary=self._primary
        )

    def _main_credential(
        self, alias: Alias, new: "NewPassword", salt: bytes, iterations: int
    ) -> Credential:
        return make_credential(
            new.password,
            salt=salt,
            iterations=iterations,
            file_key=new.file_key,
            alias=alias.id,
            label=MAIN_LABEL,
            scopes=ALL_SCOPES,
            main=True,
            now=self._now(),
        )

    def _name_file(
        self,
        alias: Alias,
        record: MailboxRecord,
        credentials: list[Credential],
        parameters: tuple[bytes, int],
        replaces: str | None,
        *,
        archive: bool,
    ) -> None:
        salt, iterations = parameters
        self._directory.set_mailbox(
            alias.id,
            record,
            credentials=credentials,
            salt=salt,
            iterations=iterations,
            replaces=replaces,
            archive=archive,
        )


@attrs.frozen(repr=False)
class NewPassword:
    """A main password, and the key of the file that it shall open."""

    password: str
    iterations: int
    file_key: FileKey

    @classmethod
    def of(cls, address: str, chosen: str | None) -> "NewPassword":
        """WeakPassword when the owner's own would be guessed."""
        if chosen is not None:
            check_password(chosen, related=[address])
        password = generate_password() if chosen is None else chosen
        return cls.again(password, GENERATED_ITERATIONS if chosen is None else CHOSEN_ITERATIONS)

    @classmethod
    def again(cls, password: str, iterations: int) -> "NewPassword":
        """One that its owner knows already, for a file with a key of its own."""
        return cls(password, iterations, derive_file_key(password, new_salt()))


def iso(moment: datetime) -> str:
    """A moment in UTC as ISO 8601 text."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
