"""What may be asked over the link, and of whom: this list is the whole of the interface.

What is asked in a mailbox is in ``mailbox_operations``. Here is how sessions begin and end, mail
from the world, and what the primary asks and tells.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from mailsrv.keys.quiet import Quiet
from mailsrv.link.mailbox_operations import MAILBOX_OPERATIONS, QuietOperation
from mailsrv.link.wire.frames import NoteBody, Operation, Sealed, Session
from mailsrv.mailbox.values import Number as Integer
from mailsrv.store.values import (
    Access,
    Delivered,
    Delivery,
    Recipient,
    Scope,
    ScramChallenge,
)

RESUMED_AT_ONCE = 500
"""Sessions in one Resume."""

Number = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Secret = Annotated[bytes, Meta(max_length=65536)]
Address = Annotated[str, Meta(max_length=4096)]
ObjectId = Annotated[str, Meta(pattern=r"\A[0-9a-f]{24}\Z")]


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
