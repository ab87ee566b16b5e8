"""Answer SEARCH: one SQL statement, with text verified where the grams are not exact.

Sans protocol: takes the criteria tree, gives UIDs (rfc9051:3716). Within its budget of time the
answer is exact, whatever is indexed; beyond it the search fails as a whole.
"""

import time
from bisect import bisect_right
from collections.abc import Callable
from typing import Any

import apsw
import zstandard

from mailsrv.errors import TooManyResults
from mailsrv.mailbox import sql
from mailsrv.mailbox.compile import Condition, Needle, compile_criteria
from mailsrv.mailbox.criteria import Criteria, Found
from mailsrv.mailbox.index import ReadContent, texts_of
from mailsrv.mailbox.uids import pack
from mailsrv.mailbox.values import MAX_UID

SECONDS = 30.0
_STEPS = 100_000
"""Virtual machine steps between two looks at the clock: a few milliseconds."""

_SELECT = (
    "SELECT group_concat(m.uid), coalesce(max(m.modseq), 0) "
    "FROM message AS m WHERE m.folder_id = :folder AND"
)
_TEXT = {
    "head": "SELECT head FROM search_text WHERE content_id = ?",
    "body": "SELECT body FROM search_text WHERE content_id = ?",
}
_NOTHING = Condition("0", {}, [], [])
_HANDLER = "mailsrv.mailbox.search"


class Searcher:
    """The searches of one connection, on which it registers two SQL functions once."""

    def __init__(
        self,
        connection: apsw.Connection,
        read: ReadContent,
        *,
        seconds: float = SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``read`` gives the octets of a content that is not indexed yet."""
        self._connection = connection
        self._read = read
        self._seconds = seconds
        self._monotonic = monotonic
        self._deadline = 0.0
        self._condition = _NOTHING
        self._decompress = zstandard.ZstdDecompressor().decompress
        # Made here: see sql.Executor.
        self._inner = connection.cursor()
        self._content_id = 0
        self._loaded: dict[str, bytes] = {}
        connection.create_scalar_function("search_contains", self._contains, 2)
        connection.create_scalar_function("search_within", self._within, 2)

    def search(self, folder_id: int, criteria: Criteria) -> Found:
        """UIDs of a folder that match. TooManyResults when the tree or the time is too much."""
        condition = compile_criteria(criteria)
        self._condition = condition
        self._deadline = self._monotonic() + self._seconds
        self._connection.set_progress_handler(self._late, _STEPS, id=_HANDLER)
        try:
            statement = f"{_SELECT} {condition.sql}"
            bindings = {**condition.parameters, "folder": folder_id}
            ((uids, modseq),) = sql.rows(self._connection, statement, bindings)
        except apsw.InterruptError:
            raise TooManyResults("the search took too long") from None
        finally:
            self._connection.set_progress_handler(None, id=_HANDLER)
            self._condition = _NOTHING
            self._content_id, self._loaded = 0, {}
        return Found(_packed(uids), modseq)

    def _late(self) -> bool:
        return self._monotonic() > self._deadline

    def _contains(self, *values: Any) -> bool:
        """SQL ``search_contains(number, content_id)``: the content's text holds that needle."""
        number, content_id = values
        if self._late():
            raise TooManyResults("the search took too long")
        needle = self._condition.needles[number]
        if needle.part == "header":
            return _in_field(needle, self._text(content_id, "head"))
        if needle.text in self._text(content_id, "body"):
            return True
        return needle.part == "text" and needle.text in self._text(content_id, "head")

    def _text(self, content_id: int, column: str) -> bytes:
        """The comparison form of a content's head or body, kept until another content's turn."""
        if self._content_id != content_id:
            self._content_id, self._loaded = content_id, {}
        if column not in self._loaded:
            packed = sql.value(self._inner, _TEXT[column], (content_id,))
            if packed is None:
                texts = texts_of(self._read(content_id))
                self._loaded = {"head": texts.head.encode(), "body": texts.body.encode()}
            else:
                self._loaded[column] = self._decompress(packed)
        return self._loaded[column]

    def _within(self, *values: Any) -> bool:
        """SQL ``search_within(number, uid)``: the UID lies in a range of that set."""
        number, uid = values
        ranges = self._condition.ranges[number]
        at = bisect_right(ranges, (uid, MAX_UID)) - 1
        return at >= 0 and uid <= ranges[at][1]


def _in_field(needle: Needle, head: bytes) -> bool:
    """A field of the message's own header with that name holds the text."""
    start = needle.field + b": "
    fields = head.partition(b"\n\n")[0].split(b"\n")
    return any(needle.text in line[len(start) :] for line in fields if line.startswith(start))


def _packed(uids: str | int | None) -> bytes:
    """UIDs as SQL's group_concat gives them (one alone may be a number), ascending."""
    return pack(sorted(map(int, str(uids).split(",")))) if uids is not None else b""
