"""From an alias without a password to a mailbox, and what may become of it later.

Blocking; the command line and the account page call these while the server runs. Two changes of
one alias exclude each other in all processes. A crash anywhere leaves the old password and file
or the new ones: the one directory transaction that names the new file is the switch, and a file
that nobody names is removed at a later start (``orphans``).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

import attrs

from mailsrv.directory.directory import Alias, Directory, MailboxRecord
from mailsrv.directory.values import DEFAULT_PRIMARY
from mailsrv.errors import (
    AliasDisabled,
    AlreadyExists,
    InvalidInput,
    MailboxMoved,
    MailboxNotReady,
)
from mailsrv.keys.credential import Credential, make_credential, reseal
from mailsrv.keys.filekey import FileKey, derive_file_key, new_salt
from mailsrv.keys.objectid import object_id
from mailsrv.keys.passwords import check_password, generate_password
from mailsrv.keys.scram import CHOSEN_ITERATIONS, GENERATED_ITERATIONS
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.rekey import copy_under_new_key
from mailsrv.store.authentication import Authentication, Opened
from mailsrv.store.secret import ServerSecret
from mailsrv.store.values import ALL_SCOPES, Scope
from mailsrv.store.volume import Volume, sync_folder
from mailsrv.store.workers import log_unexpected

MAIN_LABEL = "main"

PATIENCE = 5.0
"""Seconds to wait for another change of the same alias."""


@attrs.frozen
class PasswordChanged:
    """``password`` is shown once. App passwords that could not be kept were dropped."""

    password: str = attrs.field(repr=False)
    dropped: tuple[str, ...] = ()
    """Labels of the app passwords that are gone."""


Reveal = Callable[[PasswordChanged], None]
"""Shows the password to its owner. Called when everything is ready, right before the transaction
that makes it valid: a crash after that must not leave a password that nobody has seen."""


def _not_yet(_changed: PasswordChanged) -> None:
    """The caller shows the password that the method answers with."""


class Lifecycle:
    """The changes, over one directory and one volume. ``now`` tells the time in UTC.

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
        self._authentication = Authentication(directory, ServerSecret(volume.server_key()))

    def set_first_password(
        self, address: str, password: str | None = None, reveal: Reveal = _not_yet
    ) -> str:
        """Make the mailbox of an alias that has none; answers the password, for showing once.

        None generates it. NoSuchAlias, AlreadyExists, WeakPassword.
        """
        new = _NewPassword.of(address, password)
        with self._changing(address) as alias:
            if self._directory.mailbox(alias.id) is not None:
                raise AlreadyExists(f"{alias.address} has a password already")
            self._make_empty(alias, new, replaces=None, reveal=reveal)
        return new.password

    def start_over(
        self, address: str, password: str | None = None, reveal: Reveal = _not_yet
    ) -> str:
        """Archive the mailbox that nobody can open any more and make an empty one.

        The old password still opens the archive. Mail that waited was sealed to the old
        mailbox and stays beside it, under the name of its public key.
        """
        new = _NewPassword.of(address, password)
        with self._changing(address) as alias:
            record = self._directory.mailbox(alias.id)
            self._make_empty(alias, new, replaces=record.id if record else None, reveal=reveal)
            self._directory.set_usage(alias.id, 0, 0)
        return new.password

    def change_password(
        self,
        address: str,
        old: str,
        new_password: str | None = None,
        reveal: Reveal = _not_yet,
    ) -> PasswordChanged:
        """Give the mailbox a new main password. AuthenticationFailed when ``old`` is not it.

        A chosen password needs the higher iteration count, which all credentials of an alias
        share: where they had the lower one, app passwords cannot be kept.
        """
        new = _NewPassword.of(address, new_password)
        with self._changing(address) as alias:
            opened = self._authentication.with_password(alias.address, old, None)
            return self._switch(alias, opened, new, reveal)

    def add_app_password(
        self, address: str, main_password: str, label: str, scopes: tuple[Scope, ...]
    ) -> str:
        """A generated password for one device or program.

        AuthenticationFailed, InvalidInput; AlreadyExists when the label is taken.
        """
        if not scopes or not set(scopes) <= set(ALL_SCOPES):
            raise InvalidInput(f"scope: expected one or more of {', '.join(ALL_SCOPES)}")
        label = label.strip()
        if not label or label == MAIN_LABEL:
            raise InvalidInput("label: expected a name for the device or program")
        password = generate_password()
        with self._changing(address) as alias:
            opened = self._authentication.with_password(alias.address, main_password, None)
            if label.strip() in {one.label for one in self._directory.credentials(alias.id)}:
                raise AlreadyExists(
                    f"{alias.address} has a password with that label: revoke it first"
                )
            verifier = opened.credential.verifier
            credential = make_credential(
                password,
                salt=verifier.salt,
                iterations=verifier.iterations,
                file_key=opened.key,
                alias=alias.id,
                label=label,
                scopes=scopes,
                main=False,
                now=self._now(),
            )
            self._directory.add_credential(alias.id, credential)
        return password

    def revoke_credential(self, address: str, credential_id: str) -> None:
        """End an app password; its sessions end within a second. InvalidInput if it is none."""
        with self._changing(address) as alias:
            found = [
                one for one in self._directory.credentials(alias.id) if one.id == credential_id
            ]
            if not found or found[0].main:
                raise InvalidInput("expected the id of an app password of this alias")
            self._directory.revoke_credential(alias.id, credential_id)

    def credentials(self, address: str) -> list[Credential]:
        """All credentials of the alias, the main one first."""
        alias = self._directory.alias(address)
        return sorted(
            self._directory.credentials(alias.id), key=lambda one: (not one.main, one.created)
        )

    @contextmanager
    def _changing(self, address: str) -> Iterator[Alias]:
        alias = self._here(address)
        self._volume.prepare()
        with self._volume.exclusive(alias.id, PATIENCE):
            # a move that was under way had the lock until now
            yield self._here(address)

    def _here(self, address: str) -> Alias:
        alias = self._directory.alias(address)
        if alias.deleted is not None:
            raise AliasDisabled(
                f"{alias.address} was deleted at {alias.deleted}: undelete it first"
            )
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

    def _make_empty(
        self, alias: Alias, new: "_NewPassword", replaces: str | None, reveal: Reveal
    ) -> None:
        with self._new_file(alias) as file_id:
            path = self._volume.mailbox(file_id)
            with Mailbox.create(path, new.file_key, self._now) as mailbox:
                _, public_key = mailbox.keys()
            sync_folder(self._volume.mailboxes)
            salt = new_salt()
            reveal(PasswordChanged(new.password))
            self._name_file(
                alias,
                self._record(file_id, public_key),
                [self._main_credential(alias, new, salt, new.iterations)],
                (salt, new.iterations),
                replaces,
                archive=True,
            )

    def _switch(
        self, alias: Alias, opened: Opened, new: "_NewPassword", reveal: Reveal
    ) -> PasswordChanged:
        old_path = self._volume.mailbox(opened.mailbox)
        credentials, dropped, parameters = self._new_credentials(alias, opened, new)
        changed = PasswordChanged(new.password, dropped)
        with (
            self._new_file(alias) as file_id,
            Mailbox.open(old_path, opened.key, self._now) as source,
            Mailbox.open(old_path, opened.key, self._now) as holder,
        ):
            holder.fence = lambda: self._check_current(alias, opened.mailbox)
            # no write can slip between the copy and the switch: writers wait for this lock,
            # and after it the fence tells them that the file was replaced
            with holder.writing(durable=False):
                copy_under_new_key(source, self._volume.mailbox(file_id), new.file_key)
                record = self._record(file_id, opened.public_key)
                reveal(changed)
                self._name_file(
                    alias, record, credentials, parameters, opened.mailbox, archive=False
                )
            self._remove(opened.mailbox)
        return changed

    def _record(self, file_id: str, public_key: bytes) -> MailboxRecord:
        return MailboxRecord(
            id=file_id, public_key=public_key, created=_iso(self._now()), primary=self._primary
        )

    def _remove(self, replaced: str) -> None:
        try:
            self._volume.remove_mailbox(replaced)
            self._directory.forget_mailbox(replaced)
        except Exception as error:  # noqa: BLE001 - the next start of the server removes it
            log_unexpected(error)

    def _new_credentials(
        self, alias: Alias, opened: Opened, new: "_NewPassword"
    ) -> tuple[list[Credential], tuple[str, ...], tuple[bytes, int]]:
        verifier = opened.credential.verifier
        others = [one for one in self._directory.credentials(alias.id) if not one.main]
        if new.iterations > verifier.iterations:
            salt, iterations = new_salt(), new.iterations
            dropped, kept = tuple(one.label for one in others), []
        else:
            salt, iterations = verifier.salt, verifier.iterations
            dropped, kept = (), [reseal(one, new.file_key, alias.id) for one in others]
        main = self._main_credential(alias, new, salt, iterations)
        return [main, *kept], dropped, (salt, iterations)

    def _main_credential(
        self, alias: Alias, new: "_NewPassword", salt: bytes, iterations: int
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

    def _check_current(self, alias: Alias, file_id: str) -> None:
        record = self._directory.mailbox(alias.id)
        if record is None:
            raise MailboxNotReady(f"{alias.address} has no mailbox")
        if record.id != file_id:
            raise MailboxMoved("the password was changed meanwhile")


@attrs.frozen(repr=False)
class _NewPassword:
    password: str
    iterations: int
    file_key: FileKey

    @classmethod
    def of(cls, address: str, chosen: str | None) -> "_NewPassword":
        """WeakPassword when the owner's own would be guessed."""
        if chosen is not None:
            check_password(chosen, related=[address])
        password = generate_password() if chosen is None else chosen
        return cls(
            password=password,
            iterations=GENERATED_ITERATIONS if chosen is None else CHOSEN_ITERATIONS,
            file_key=derive_file_key(password, new_salt()),
        )


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
