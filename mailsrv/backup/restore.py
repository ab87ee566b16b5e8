"""A backup becomes an alias's mailbox again, or another alias's.

Blocking; in the command's own process while the server runs. The backup comes to the volume as a
file in the making, opens with the password of its time or not at all, is read whole, and is copied
under a key of its own into the file that one directory transaction makes the current one. The
former file is archived, so a mistaken restore can be undone. A crash anywhere leaves the old
mailbox or the restored one, and what it left on the volume goes at a later start (``orphans``).

Mail that waits is sealed to a key pair whose private half lies in the mailbox. The restored file
takes over the pair of the current one, so that what waits now is read at the next login. Where
that one cannot be read any more, its pair stays if it is also the backup's; else the restored file
gets a fresh one, and what waits for the file that cannot be read stays beside it. What waits for
the pair that the backup brought is put into the restored mailbox before that pair goes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs

from mailsrv.backup.restore_sources import Fetched, Source, key_of
from mailsrv.backup.verification import open_and_verify
from mailsrv.directory.directory import Alias, MailboxRecord
from mailsrv.errors import (
    AliasDisabled,
    AlreadyExists,
    AuthenticationFailed,
    MailboxDamaged,
    MailboxMissing,
    MailboxMoved,
    SchemaMismatch,
    StorageFailed,
    WrongKey,
)
from mailsrv.keys.credential import Credential, reseal
from mailsrv.keys.filekey import new_salt
from mailsrv.keys.objectid import object_id
from mailsrv.keys.scram import CHOSEN_ITERATIONS
from mailsrv.keys.sealing import generate_key_pair
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.rekey import copy_under_new_key
from mailsrv.mailbox.restored import highest_uidvalidity, prepare
from mailsrv.store.authentication import Opened
from mailsrv.store.changing import MAIN_LABEL, Changing, NewPassword
from mailsrv.store.merge import copy_in
from mailsrv.store.volume import require_room
from mailsrv.store.waiting import WaitingFiles

TodaysPassword = Callable[[], str | None]
"""Asks for today's main password, when the backup has another one; None: it is lost."""

_UNREADABLE = (MailboxDamaged, MailboxMissing, SchemaMismatch, StorageFailed, WrongKey)


@attrs.frozen
class Restored:
    """What became of it."""

    address: str
    taken: str | None
    """When the mailbox was as it is now, where that is known."""
    messages: int
    octets: int
    archived: str | None
    """The file that was the mailbox before."""
    set_password: bool
    """Whether the password of the backup is the main password now."""
    dropped: tuple[str, ...] = ()
    """Labels of the app passwords that are gone."""
    brought: int = 0
    """Messages that waited for the backup's own mailbox, and are in the restored one now."""
    left: int = 0
    """Messages that wait for the archived file, and only its key opens them."""
    problem: str = ""
    """Why it is not younger, when what came later could not be used."""


@attrs.frozen(repr=False)
class _Draft:
    mailbox: Mailbox
    fetched: Fetched | None


@attrs.frozen(repr=False)
class _Current:
    """What the restored file takes over."""

    key_pair: tuple[bytes, bytes]
    uidvalidity: int


class Restore(Changing):
    """Over one directory and one volume."""

    def restore(
        self, address: str, source: Source, password: str, today: TodaysPassword
    ) -> Restored:
        """Put a backup in the place of the mailbox, or of none.

        All of today's passwords stay valid, unless ``today`` says that they are lost, or there is
        no mailbox: then the backup's becomes the main password. WrongKey when ``password`` does
        not open the backup, AuthenticationFailed when today's is wrong, AliasDisabled, and what
        fetching raises: nothing has changed then.
        """
        alias = self._here(address)
        if not alias.enabled:
            raise AliasDisabled(f"{alias.address} is disabled: enable it first")
        self._check_early(alias, source, password)
        with self._fetched(source, password) as draft:
            record = self._directory.mailbox(alias.id)
            main = self._main_password(alias, password, today) if record is not None else None
            with self._changing(address) as alias:
                if self._directory.mailbox(alias.id) != record:
                    raise MailboxMoved("the mailbox was changed by another process meanwhile")
                return self._replace(alias, draft, record, password, main)

    def restore_into(self, address: str, source: Source, password: str) -> Restored:
        """Make a backup the mailbox of an alias that has none.

        The backup's password becomes its main password. The key pair is a fresh one, so that the
        two mailboxes never share mail that waits. AlreadyExists, and as ``restore``.
        """
        self._require_none(self._here(address))
        with self._fetched(source, password) as draft, self._changing(address) as alias:
            self._require_none(alias)
            pair = generate_key_pair()
            prepare(draft.mailbox, 0, pair)
            self._set(alias, draft.mailbox, pair[1], password, None)
            return self._done(alias, draft, None, set_password=True)

    def _require_none(self, alias: Alias) -> None:
        if self._directory.mailbox(alias.id) is not None:
            raise AlreadyExists(
                f"{alias.address} has a mailbox already: expected an alias without a password"
            )

    def _check_early(self, alias: Alias, source: Source, password: str) -> None:
        """Find a wrong password before anything is fetched, where the directory knows it."""
        record = self._directory.mailbox(alias.id)
        if record is not None and source.mailbox == record.id:
            try:
                self._authentication.with_password(alias.address, password, None)
            except AuthenticationFailed:
                raise _wrong_password(source) from None

    @contextmanager
    def _fetched(self, source: Source, password: str) -> Iterator[_Draft]:
        """The backup as a file on the volume, open and read whole, that goes at the end."""
        self._volume.prepare()
        # what comes, and the file that is made of it
        require_room(self._volume.mailboxes, 2 * source.octets)
        file_id = object_id(self._now())
        path = self._volume.mailbox(file_id)
        with self._volume.exclusive(file_id):
            try:
                try:
                    fetched = source.fetch(path, password)
                    key = key_of(path, password)
                    open_and_verify(path, key, self._now)
                    mailbox = Mailbox.open(path, key, self._now)
                except WrongKey:
                    raise _wrong_password(source) from None
                with mailbox:
                    yield _Draft(mailbox, fetched)
            finally:
                self._volume.remove_mailbox(file_id)

    def _main_password(self, alias: Alias, password: str, today: TodaysPassword) -> str | None:
        """Today's main password; None where the backup's has to become it."""
        try:
            self._authentication.with_password(alias.address, password, None)
        except AuthenticationFailed:
            return self._checked(alias, today())
        return password

    def _checked(self, alias: Alias, main: str | None) -> str | None:
        if main is not None:
            try:
                self._authentication.with_password(alias.address, main, None)
            except AuthenticationFailed:
                raise AuthenticationFailed(
                    f"this is not the main password ({MAIN_LABEL}) of {alias.address} today, and "
                    "nothing was changed: where it is lost, --password-lost makes the backup's "
                    "the main password again"
                ) from None
        return main

    def _replace(
        self,
        alias: Alias,
        draft: _Draft,
        record: MailboxRecord | None,
        password: str,
        main: str | None,
    ) -> Restored:
        opened = None
        if main is not None:
            opened = self._authentication.with_password(alias.address, main, None)
        public_key, brought = self._prepare(alias, draft.mailbox, record, opened)
        if opened is not None and main is not None:
            self._keep_passwords(alias, draft.mailbox, public_key, main, opened)
            dropped: tuple[str, ...] = ()
        else:
            known = self._directory.credentials(alias.id)
            dropped = tuple(one.label for one in known if not one.main)
            self._set(alias, draft.mailbox, public_key, password, record)
        done = self._done(alias, draft, record, set_password=opened is None)
        left = 0
        if record is not None and record.public_key != public_key:
            left = self._waiting(record.public_key)
        return attrs.evolve(done, dropped=dropped, brought=brought, left=left)

    def _prepare(
        self, alias: Alias, mailbox: Mailbox, record: MailboxRecord | None, opened: Opened | None
    ) -> tuple[bytes, int]:
        """New UIDVALIDITYs and the right key pair; its public key, and what mail that brought."""
        current = self._current(opened)
        _, own = mailbox.keys()
        pair: tuple[bytes, bytes] | None = None
        if current is not None:
            pair = current.key_pair if current.key_pair[1] != own else None
        elif record is None or record.public_key != own:
            pair = generate_key_pair()
        # nothing is taken away: until the switch it is not certain that this file will be used
        brought = copy_in(self._files, mailbox, alias.id) if pair is not None else 0
        prepare(mailbox, current.uidvalidity if current is not None else 0, pair)
        return (own if pair is None else pair[1]), brought

    def _current(self, opened: Opened | None) -> _Current | None:
        if opened is None:
            return None
        path = self._volume.mailbox(opened.mailbox)
        try:
            with Mailbox.open(path, opened.key, self._now) as mailbox:
                return _Current(mailbox.keys(), highest_uidvalidity(mailbox))
        except _UNREADABLE:
            return None

    def _keep_passwords(
        self, alias: Alias, mailbox: Mailbox, public_key: bytes, main: str, opened: Opened
    ) -> None:
        # the same password, but a salt and so a key of its own: a session that a secondary kept
        # for the former file must not go on with this one
        verifier = opened.credential.verifier
        new = NewPassword.again(main, verifier.iterations)
        known = self._directory.credentials(alias.id)
        credentials = [reseal(one, new.file_key, alias.id) for one in known]
        parameters = (verifier.salt, verifier.iterations)
        self._switch(alias, mailbox, public_key, new, credentials, parameters, opened.mailbox)

    def _set(
        self,
        alias: Alias,
        mailbox: Mailbox,
        public_key: bytes,
        password: str,
        replaces: MailboxRecord | None,
    ) -> None:
        """Make the backup's password the main one; whoever chose it, it gets all the rounds."""
        new, salt = NewPassword.again(password, CHOSEN_ITERATIONS), new_salt()
        credentials = [self._main_credential(alias, new, salt, new.iterations)]
        parameters = (salt, new.iterations)
        former = replaces.id if replaces is not None else None
        self._switch(alias, mailbox, public_key, new, credentials, parameters, former)

    def _switch(
        self,
        alias: Alias,
        mailbox: Mailbox,
        public_key: bytes,
        new: NewPassword,
        credentials: list[Credential],
        parameters: tuple[bytes, int],
        replaces: str | None,
    ) -> None:
        with self._new_file(alias) as file_id:
            copy_under_new_key(mailbox, self._volume.mailbox(file_id), new.file_key)
            record = self._record(file_id, public_key)
            self._name_file(alias, record, credentials, parameters, replaces, archive=True)

    def _done(
        self, alias: Alias, draft: _Draft, former: MailboxRecord | None, *, set_password: bool
    ) -> Restored:
        usage, fetched = draft.mailbox.usage(), draft.fetched
        self._directory.set_usage(alias.id, usage.octets, usage.messages, usage.recoverable)
        return Restored(
            address=alias.address,
            taken=fetched.taken if fetched is not None else None,
            messages=usage.messages,
            octets=usage.octets,
            archived=former.id if former is not None else None,
            set_password=set_password,
            problem=fetched.problem if fetched is not None else "",
        )

    # Mail that waits

    @property
    def _files(self) -> WaitingFiles:
        return WaitingFiles(self._volume, self._secret)

    def _waiting(self, public_key: bytes) -> int:
        files = self._files
        if not files.exist(public_key):
            return 0
        with files.open(public_key) as waiting:
            return waiting.count()


def _wrong_password(source: Source) -> WrongKey:
    return WrongKey(
        f"this password does not open {source.name}, and nothing was changed: expected the main "
        f"password ({MAIN_LABEL}) of that time; app passwords open no files"
    )
