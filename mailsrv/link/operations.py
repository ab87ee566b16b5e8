"""What may be asked over the link, and of whom: this list is the whole of the interface.

One struct for each method of ``IStore``, with the fields named as its arguments. What is done in
a mailbox leaves the ``access`` out: the call names the session, and the primary knows its access.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from mailsrv.keys.quiet import Quiet
from mailsrv.link.wire.frames import NoteBody, Operation, Sealed, Session
from mailsrv.link.wire.limits import MIB
from mailsrv.mailbox.criteria import Criteria, Found
from mailsrv.mailbox.fetch import MAX_BYTES
from mailsrv.mailbox.values import (
    Appended,
    Changes,
    Copied,
    Expunged,
    FetchPage,
    FetchRequest,
    Folder,
    NewMessage,
    Section,
    Selected,
    StoreFlags,
    StoreResult,
    UidSet,
)
from mailsrv.mailbox.values import Number as Integer
from mailsrv.store.values import (
    Access,
    Delivered,
    Delivery,
    Quota,
    Recipient,
    Scope,
    ScramChallenge,
)

RESUMED_AT_ONCE = 500
"""Sessions in one Resume."""

APPENDED_AT_ONCE = 10_000
"""Messages in one Append."""

LONGEST = 64 * MIB
"""What the whole of a section may be: read alone, while no other long answer is in memory."""

Number = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Secret = Annotated[bytes, Meta(max_length=65536)]
Address = Annotated[str, Meta(max_length=4096)]
ObjectId = Annotated[str, Meta(pattern=r"\A[0-9a-f]{24}\Z")]


class QuietOperation(Operation, frozen=True):
    """Arguments are what clients sent: a repr must not show them."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    __str__ = __repr__

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []


# Logging in


class LoggedIn(Quiet, frozen=True):
    """``sealed_key`` is the file key, sealed to the front end under the login's number."""

    shown: ClassVar[tuple[str, ...]] = ("access",)

    access: Access
    sealed_key: Sealed
    server_signature: bytes = b""


class Login(QuietOperation, frozen=True):
    """``secret`` is the password, sealed under ``number``. A repeated login has the same session:
    the one that it may have opened before ends."""

    name: ClassVar[str] = "login"
    answer: ClassVar[Any] = LoggedIn

    address: Address
    secret: Secret
    number: Number
    scope: Scope
    session: Session
    listens: bool


class LoginScram(QuietOperation, frozen=True):
    """``secret`` is the msgpack of a ScramProof, sealed under ``number``; the rest as in Login."""

    name: ClassVar[str] = "login_scram"
    answer: ClassVar[Any] = LoggedIn

    address: Address
    secret: Secret
    number: Number
    scope: Scope
    session: Session
    listens: bool


class ScramChallengeOf(QuietOperation, frozen=True):
    name: ClassVar[str] = "scram_challenge"
    answer: ClassVar[Any] = ScramChallenge
    lasting: ClassVar[bool] = True

    address: Address


class Logout(QuietOperation, frozen=True):
    """Of the call's session; also of one whose login is still under way."""

    name: ClassVar[str] = "logout"
    answer: ClassVar[Any] = None


class Resumed(msgspec.Struct, frozen=True):
    """A session that the front end has. ``access.key`` is empty."""

    access: Access
    listens: bool


class Resume(QuietOperation, frozen=True):
    """Sessions that go on over this connection; their keys stay with the front end.

    Answers for each its access, perhaps with another mailbox, or why it does not hold.
    """

    name: ClassVar[str] = "resume"
    answer: ClassVar[Any] = list[Access | str]
    lasting: ClassVar[bool] = True

    sessions: Annotated[tuple[Resumed, ...], Meta(max_length=RESUMED_AT_ONCE)]


# In the mailbox of the call's session


class SessionOperation(QuietOperation, frozen=True):
    """``IStore``'s method of that name, with the session's access and these arguments."""

    keyed: ClassVar[bool] = True
    """Whether the mailbox is opened for it."""


class Poll(SessionOperation, frozen=True):
    name: ClassVar[str] = "poll"
    answer: ClassVar[Any] = int


class Folders(SessionOperation, frozen=True):
    name: ClassVar[str] = "folders"
    answer: ClassVar[Any] = list[Folder]


class Subscriptions(SessionOperation, frozen=True):
    name: ClassVar[str] = "subscriptions"
    answer: ClassVar[Any] = list[str]


class CreateFolder(SessionOperation, frozen=True):
    name: ClassVar[str] = "create_folder"
    answer: ClassVar[Any] = Folder

    folder: str
    special_use: str | None
    write_id: str


class DeleteFolder(SessionOperation, frozen=True):
    name: ClassVar[str] = "delete_folder"
    answer: ClassVar[Any] = None

    folder: str
    write_id: str


class RenameFolder(SessionOperation, frozen=True):
    name: ClassVar[str] = "rename_folder"
    answer: ClassVar[Any] = None

    old: str
    new: str
    write_id: str


class Subscribe(SessionOperation, frozen=True):
    name: ClassVar[str] = "subscribe"
    answer: ClassVar[Any] = None

    folder: str
    subscribed: bool
    write_id: str


class Select(SessionOperation, frozen=True):
    name: ClassVar[str] = "select"
    answer: ClassVar[Any] = Selected

    folder: str
    writable: bool


class Append(SessionOperation, frozen=True):
    name: ClassVar[str] = "append"
    answer: ClassVar[Any] = Appended
    carries: ClassVar[bool] = True

    folder: str
    messages: Annotated[list[NewMessage], Meta(max_length=APPENDED_AT_ONCE)]
    write_id: str


class Fetch(SessionOperation, frozen=True):
    name: ClassVar[str] = "fetch"
    answer: ClassVar[Any] = FetchPage

    folder_id: Integer
    request: FetchRequest

    @property
    def weight(self) -> int:
        return max(0, min(self.request.max_bytes, MAX_BYTES))


class Read(SessionOperation, frozen=True):
    name: ClassVar[str] = "read"
    answer: ClassVar[Any] = bytes | None

    folder_id: Integer
    uid: Integer
    section: Section

    @property
    def weight(self) -> int:
        length = self.section.length
        return LONGEST if length is None else max(0, min(length, LONGEST))


class ChangesSince(SessionOperation, frozen=True):
    name: ClassVar[str] = "changes"
    answer: ClassVar[Any] = Changes

    folder_id: Integer
    since: Integer
    claim_recent: bool


class Store(SessionOperation, frozen=True):
    name: ClassVar[str] = "store_flags"
    answer: ClassVar[Any] = StoreResult

    folder_id: Integer
    change: StoreFlags
    write_id: str


class Expunge(SessionOperation, frozen=True):
    name: ClassVar[str] = "expunge"
    answer: ClassVar[Any] = Expunged

    folder_id: Integer
    uids: UidSet
    write_id: str


class Copy(SessionOperation, frozen=True):
    name: ClassVar[str] = "copy"
    answer: ClassVar[Any] = Copied

    folder_id: Integer
    uids: UidSet
    to: str
    write_id: str


class Move(SessionOperation, frozen=True):
    name: ClassVar[str] = "move"
    answer: ClassVar[Any] = Copied

    folder_id: Integer
    uids: UidSet
    to: str
    write_id: str


class Search(SessionOperation, frozen=True):
    name: ClassVar[str] = "search"
    answer: ClassVar[Any] = Found

    folder_id: Integer
    criteria: Criteria


class QuotaOf(SessionOperation, frozen=True):
    name: ClassVar[str] = "quota"
    answer: ClassVar[Any] = Quota
    keyed: ClassVar[bool] = False


# Mail from the world


class Resolve(QuietOperation, frozen=True):
    name: ClassVar[str] = "resolve"
    answer: ClassVar[Any] = Recipient
    lasting: ClassVar[bool] = True

    address: Address


class Deliver(QuietOperation, frozen=True):
    name: ClassVar[str] = "deliver"
    answer: ClassVar[Any] = Delivered
    carries: ClassVar[bool] = True
    lasting: ClassVar[bool] = True

    alias: ObjectId
    delivery: Delivery


# Asked by the primary


class Lending(Quiet, frozen=True):
    """A session's file key, sealed to the primary and bound to the question."""

    shown: ClassVar[tuple[str, ...]] = ("session",)

    session: Session
    sealed: Sealed


class LendKey(QuietOperation, frozen=True):
    """Whether a session of this alias is here that has the key of this mailbox file."""

    name: ClassVar[str] = "lend_key"
    answer: ClassVar[Any] = Lending | None

    alias: ObjectId
    mailbox: ObjectId
    ask: Annotated[bytes, Meta(min_length=16, max_length=16)]


# Told by the primary


class Changed(NoteBody, frozen=True):
    """As IListener.changed."""

    name: ClassVar[str] = "changed"

    session: Session
    folder_id: Integer
    modseq: int


class Revoked(NoteBody, frozen=True):
    """As IListener.revoked; the primary has ended the session."""

    name: ClassVar[str] = "revoked"

    session: Session
    reason: str


def _by_name(*kinds: Any) -> Mapping[str, Any]:
    return {kind.name: kind for kind in kinds}


MAILBOX_OPERATIONS: tuple[type[SessionOperation], ...] = (
    Poll,
    Folders,
    Subscriptions,
    CreateFolder,
    DeleteFolder,
    RenameFolder,
    Subscribe,
    Select,
    Append,
    Fetch,
    Read,
    ChangesSince,
    Store,
    Expunge,
    Copy,
    Move,
    Search,
    QuotaOf,
)

FRONTEND_OPERATIONS: Mapping[str, type[Operation]] = _by_name(
    Login,
    LoginScram,
    ScramChallengeOf,
    Logout,
    Resume,
    *MAILBOX_OPERATIONS,
    Resolve,
    Deliver,
)
"""What a primary does for a front end."""

SECONDARY_OPERATIONS: Mapping[str, type[Operation]] = _by_name(LendKey)
"""What a front end does for its primary."""

NOTES: Mapping[str, type[NoteBody]] = _by_name(Changed, Revoked)
"""What a primary tells a front end. A front end tells nothing."""
