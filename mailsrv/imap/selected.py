"""The folder that a session has selected, as its client knows it.

A client numbers messages by what it was told, so the numbering here changes only when a line that
says so is made (rfc3501:4019): what others expunged stays in the array until it is announced.
The store is asked "what happened since modseq N?" and the answer is kept until it may be spoken.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from mailsrv.imap.format import flag_list, unpack
from mailsrv.imap.reply import Bad
from mailsrv.imap.sequence import SequenceSet
from mailsrv.store.values import Changes, FlagRow, Row, Selected, UidSet


class SelectedFolder:
    """UIDs by sequence number, the recent ones, and what happened and was not yet said."""

    def __init__(self, selected: Selected, *, writable: bool) -> None:
        self.id = selected.folder.id
        self.writable = writable
        self.uids = unpack(selected.uids)
        self.uidnext = selected.folder.uidnext
        self.modseq = selected.folder.highestmodseq
        self.recent = set(self.known(selected.recent))
        self.keywords = set(selected.keywords)
        self.announced = self.modseq
        """The highest modseq that anybody spoke of; above ``modseq`` means: ask."""
        self._vanished: set[int] = set()
        self._changed: dict[int, FlagRow] = {}
        self._own: dict[int, int] = {}
        self._told = len(self.uids)

    # Numbers

    def number(self, uid: int) -> int | None:
        """The sequence number of a UID, None when the client does not know the message."""
        index = bisect_left(self.uids, uid)
        known = index < len(self.uids) and self.uids[index] == uid
        return index + 1 if known else None

    def resolve(self, numbers: SequenceSet, *, by_uid: bool, strict: bool = True) -> UidSet:
        """UID ranges of a set as the client wrote it.

        A message number too high is Bad when ``strict``, else it names no message. Ranges stay
        below uidnext: a message that was not announced has no number to answer with.
        """
        if by_uid:
            largest = self.uids[-1] if self.uids else self.uidnext - 1
            ranges = numbers.resolve(largest)
            last = self.uidnext - 1
            return tuple((low, min(high, last)) for low, high in ranges if low <= last)
        count = len(self.uids)
        if strict and numbers.beyond(count):
            raise Bad("No message has such a number")
        return tuple(
            (self.uids[low - 1], self.uids[min(high, count) - 1])
            for low, high in numbers.resolve(count)
            if low <= count
        )

    def known(self, uids: UidSet) -> Iterator[int]:
        """Those UIDs of a set that the client knows, ascending."""
        for low, high in uids:
            start = bisect_left(self.uids, low)
            stop = bisect_left(self.uids, high + 1)
            yield from self.uids[start:stop]

    def count(self, uids: UidSet) -> int:
        """How many messages of a set the client knows."""
        return sum(
            bisect_left(self.uids, high + 1) - bisect_left(self.uids, low) for low, high in uids
        )

    def known_numbers(self, uids: Sequence[int]) -> tuple[list[int], Sequence[int]]:
        """Those of ascending UIDs that the client knows, and their sequence numbers."""
        if uids:
            start = bisect_left(self.uids, uids[0])
            stop = start + len(uids)
            if self.uids[start:stop].tolist() == list(uids):
                return list(uids), range(start + 1, stop + 1)
        pairs = [(uid, self.number(uid)) for uid in uids]
        known = [(uid, number) for uid, number in pairs if number is not None]
        return [uid for uid, _ in known], [number for _, number in known]

    def numbered(self, rows: list[Row]) -> tuple[list[Row], Sequence[int]]:
        """Those rows whose messages the client knows, and their sequence numbers."""
        uids = [row[0] for row in rows]
        known, numbers = self.known_numbers(uids)
        if len(known) < len(uids):
            kept = set(known)
            rows = [row for row in rows if row[0] in kept]
        return rows, numbers

    def gone(self, uids: UidSet) -> bool:
        """Whether the set names a message that was expunged and not announced."""
        return any(low <= uid <= high for uid in self._vanished for low, high in uids)

    # What happened

    @property
    def behind(self) -> bool:
        """Whether something happened that was not asked for yet."""
        return self.announced > self.modseq

    def hear(self, modseq: int) -> None:
        """Somebody raised the folder's modseq."""
        self.announced = max(self.announced, modseq)

    def advance(self, base: int, modseq: int) -> bool:
        """Note our own write. True when nobody wrote in between, so that nothing is to be asked."""
        self.hear(modseq)
        if base != self.modseq:
            return False
        self.modseq = modseq
        return True

    def told(self, rows: Iterable[tuple[int, int]]) -> None:
        """The client has just been told the flags of these (uid, modseq): no need to repeat."""
        self._own.update(rows)

    def absorb(self, changes: Changes) -> None:
        """Take in the store's answer; ``lines`` will speak of it."""
        self.vanish(changes.vanished)
        for row in changes.changed:
            if row.uid >= self.uidnext:
                self.uids.append(row.uid)
            elif self._own.get(row.uid) != row.modseq:
                self._changed[row.uid] = row
        self.recent.update(self.known(changes.recent))
        self.uidnext = max(self.uidnext, changes.uidnext)
        self.modseq = changes.modseq
        self.hear(changes.modseq)
        self._own.clear()

    def vanish(self, uids: UidSet) -> None:
        """These were expunged; ``lines`` will say so, unless the client never heard of them."""
        gone = set(self.known(uids))
        if self._told < len(self.uids):
            untold = gone.intersection(self.uids[self._told :])
            told, new = self.uids[: self._told], self.uids[self._told :]
            self.uids = told + array("I", (uid for uid in new if uid not in untold))
            gone -= untold
        self._vanished |= gone

    # What is said of it

    def lines(self, *, expunge: bool, modseq: bool) -> Iterator[bytes]:
        """Untagged responses for what happened; what cannot be said now is kept.

        ``expunge`` allows EXPUNGE; ``modseq`` adds UID and MODSEQ to flags (rfc7162:995).
        """
        if expunge and self._vanished:
            yield from self._expunge_lines()
        if self._told < len(self.uids):
            self._told = len(self.uids)
            yield b"* %d EXISTS\r\n* %d RECENT\r\n" % (len(self.uids), len(self.recent))
        yield from self.new_keywords(row.keywords for row in self._changed.values())
        changed, self._changed = self._changed, {}
        for uid in sorted(changed):
            line = self.flags_line(changed[uid], uid=modseq, modseq=modseq)
            if line:
                yield line

    def _expunge_lines(self) -> Iterator[bytes]:
        """Highest first: then no announcement changes the number of a later one."""
        gone, self._vanished = sorted(self._vanished, reverse=True), set()
        lines = [b"* %d EXPUNGE\r\n" % (bisect_left(self.uids, uid) + 1) for uid in gone]
        dropped = set(gone)
        self.uids = array("I", (uid for uid in self.uids if uid not in dropped))
        self._told -= len(gone)
        self.recent -= dropped
        for uid in gone:
            self._changed.pop(uid, None)
        return iter(lines)

    def flags_line(self, row: FlagRow, *, uid: bool, modseq: bool, flags: bool = True) -> bytes:
        """An untagged FETCH with a message's flags; empty when it has no number any more."""
        number = self.number(row.uid)
        if number is None:
            return b""
        items = []
        if uid:
            items.append(b"UID %d" % row.uid)
        if flags:
            items.append(
                b"FLAGS " + flag_list(row.flags, row.keywords, recent=row.uid in self.recent)
            )
        if modseq:
            items.append(b"MODSEQ (%d)" % row.modseq)
        return b"* %d FETCH (%b)\r\n" % (number, b" ".join(items))

    def new_keywords(self, texts: Iterable[str]) -> Iterator[bytes]:
        """FLAGS and PERMANENTFLAGS again when a keyword turns up that was not there."""
        words = {word for text in texts for word in text.split()}
        known = {word.lower() for word in self.keywords}
        fresh = {word for word in words if word.lower() not in known}
        if fresh:
            self.keywords |= fresh
            yield self.flags_known()

    def flags_known(self) -> bytes:
        """The FLAGS and PERMANENTFLAGS lines (rfc3501:1743)."""
        words = " ".join(sorted(self.keywords))
        every = flag_list(31, words, recent=False)
        permanent = every[:-1] + rb" \*)" if self.writable else b"()"
        return b"* FLAGS %b\r\n* OK [PERMANENTFLAGS %b] Flags kept\r\n" % (every, permanent)
