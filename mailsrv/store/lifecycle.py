"""From an alias without a password to a mailbox, and what may become of it later.

Blocking; the command line and the account page call these while the server runs. Two changes of
one alias exclude each other in all processes. A crash anywhere leaves the old password and file
or the new ones: the one directory transaction that names the new file is the switch, and a file
that nobody names is removed at a later start (``orphans``).
"""

from collections.abc import Callable

import attrs

from mailsrv.directory.directory import Alias
from mailsrv.errors import AlreadyExists, InvalidInput, MailboxMoved, MailboxNotReady
from mailsrv.keys.credential import Credential, make_credential, reseal
from mailsrv.keys.filekey import new_salt
from mailsrv.keys.passwords import generate_password
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.rekey import copy_under_new_key
from mailsrv.store.authentication import Opened
from mailsrv.store.changing import MAIN_LABEL, Changing, NewPassword
from mailsrv.store.restored import settle
from mailsrv.store.values import ALL_SCOPES, Scope
from mailsrv.store.volume import sync_folder
from mailsrv.store.workers import log_unexpected


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


class Lifecycle(Changing):
    """The changes of passwords."""

    def set_first_password(
        self, address: str, password: str | None = None, reveal: Reveal = _not_yet
    ) -> str:
        """Make the mailbox of an alias that has none; answers the password, for showing once.

        None generates it. NoSuchAlias, AlreadyExists, WeakPassword.
        """
        new = NewPassword.of(address, password)
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
        new = NewPassword.of(address, password)
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
        new = NewPassword.of(address, new_password)
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

    def _make_empty(
        self, alias: Alias, new: NewPassword, replaces: str | None, reveal: Reveal
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
        self, alias: Alias, opened: Opened, new: NewPassword, reveal: Reveal
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
            settle(self._directory, opened, source)
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

    def _remove(self, replaced: str) -> None:
        try:
            self._volume.remove_mailbox(replaced)
            self._directory.forget_mailbox(replaced)
        except Exception as error:  # noqa: BLE001 - the next start of the server removes it
            log_unexpected(error)

    def _new_credentials(
        self, alias: Alias, opened: Opened, new: NewPassword
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

    def _check_current(self, alias: Alias, file_id: str) -> None:
        record = self._directory.mailbox(alias.id)
        if record is None:
            raise MailboxNotReady(f"{alias.address} has no mailbox")
        if record.id != file_id:
            raise MailboxMoved("the password was changed meanwhile")
