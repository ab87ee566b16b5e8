"""What may be asked in the mailbox of a call's session: one struct for each method of ``IStore``.

The fields are the method's arguments without ``access``: the call names the session, and the
primary knows its access.
"""

from typing import Annotated, Any, ClassVar

from msgspec import Meta

from mailsrv.link.wire.frames import Operation
from mailsrv.link.wire.limits import MIB
from mailsrv.mailbox.criteria import Criteria, Found
from mailsrv.mailbox.fetch import MAX_BYTES
from mailsrv.mailbox.values import (
    Appended,
    Changes,
    Copied,
    Expunged,
    ExpungedPage,
    ExpungedQuery,
    FetchPage,
    FetchRequest,
    Folder,
    NewMessage,
    Purged,
    Section,
    Selected,
    StoreFlags,
    StoreResult,
    UidSet,
    Undeleted,
)
from mailsrv.mailbox.values import Number as Integer
from mailsrv.store.values import (
    BackupState,
    Quota,
)

APPENDED_AT_ONCE = 10_000
"""Messages in one Append."""

LONGEST = 64 * MIB
"""What the whole of a section may be: read alone, while no other long answer is in memory."""


class QuietOperation(Operation, frozen=True):
    """Arguments are what clients sent: a repr must not show them."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    __str__ = __repr__

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []


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


class ListExpunged(SessionOperation, frozen=True):
    name: ClassVar[str] = "expunged"
    answer: ClassVar[Any] = ExpungedPage

    which: ExpungedQuery
    before: Integer | None
    max_rows: Integer


class Undelete(SessionOperation, frozen=True):
    name: ClassVar[str] = "undelete"
    answer: ClassVar[Any] = Undeleted

    which: ExpungedQuery
    to: str | None
    write_id: str


class Purge(SessionOperation, frozen=True):
    name: ClassVar[str] = "purge"
    answer: ClassVar[Any] = Purged

    which: ExpungedQuery
    write_id: str


class QuotaOf(SessionOperation, frozen=True):
    name: ClassVar[str] = "quota"
    answer: ClassVar[Any] = Quota
    keyed: ClassVar[bool] = False


class BackUp(SessionOperation, frozen=True):
    """Lasts long, and needs the key for the first part: the primary asks for it then."""

    name: ClassVar[str] = "back_up"
    answer: ClassVar[Any] = BackupState
    keyed: ClassVar[bool] = False


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
    ListExpunged,
    Undelete,
    Purge,
    QuotaOf,
    BackUp,
)
