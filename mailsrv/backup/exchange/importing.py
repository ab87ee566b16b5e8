"""Bringing mail into a mailbox from any source, in bounded memory, resumed where it was cut short.

What is brought in is on disk batch by batch. Given again, nothing comes twice: see
``mailbox.incoming``. So it does not matter when or how the last run ended.
"""

import hashlib
import unicodedata
from collections.abc import Callable

import attrs

from mailsrv.backup.exchange.formats.values import Found, Skipped, Source
from mailsrv.errors import InvalidInput, OverQuota, TooManyResults
from mailsrv.mailbox import incoming
from mailsrv.mailbox.folders import INBOX, MAX_DEPTH, SEPARATOR, SPECIAL_USES, normalise
from mailsrv.mailbox.incoming import Incoming, Mark, Wanted
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import Flags
from mailsrv.store.usage import Usages

MESSAGES_AT_ONCE = 200
OCTETS_AT_ONCE = 16 * 1024 * 1024
"""What one transaction takes at most."""

TOLD_AT_MOST = 1000
"""Of what was not taken so many are named, and the others counted."""

_KEPT_OCTETS = 900
_CONTROLS = ("Cc", "Cs", "Zl", "Zp")


@attrs.define
class Imported:
    """What a run did. ``known`` messages were there before; ``octets`` are of the new ones."""

    messages: int = 0
    known: int = 0
    octets: int = 0
    left: int = 0
    """What was not taken, or not as it stood."""
    told: list[Skipped] = attrs.field(factory=list)


@attrs.frozen
class Target:
    """The mailbox that gets the mail, and who counts what it may hold."""

    mailbox: Mailbox
    alias: str
    usages: Usages
    changed: Callable[[], None]
    """Called when messages were added: tells the server."""


Progress = Callable[[str, int, int], None]
"""Hears of each message: its folder, how many were read, and their octets."""


class Import:
    """One run. Blocking. ``done`` says how far it came, also when it failed."""

    def __init__(self, target: Target, source: Source, largest: int, progress: Progress) -> None:
        self._target = target
        self._source = source
        self._largest = largest
        self._progress = progress
        self._names: dict[str, str] = {}
        self._settled: set[str] = set()
        self._waiting: dict[str, list[tuple[Incoming, Mark | None]]] = {}
        self._count = 0
        self._octets = 0
        self._seen: set[int] = set()
        self._again: dict[int, int] = {}
        self.done = Imported()

    def run(self) -> Imported:
        """Bring in everything. OverQuota says how far it came."""
        self._settle()
        read = octets = 0
        for found in self._source.messages():
            if isinstance(found, Skipped):
                self._tell(found)
                continue
            read += 1
            octets += len(found.mail.content)
            self._progress(self._name(found.folder), read, octets)
            self._take(found)
        self._flush()
        # a run that was killed may have stored what it did not count
        self._target.usages.measure(self._target.alias, self._target.mailbox)
        self._target.usages.flush()
        return self.done

    def _settle(self) -> None:
        wanted: dict[str, Wanted] = {}
        for one in self._source.folders():
            name = self._name(one.name)
            use = one.special_use if one.special_use in SPECIAL_USES and name != INBOX else None
            wanted.setdefault(name, Wanted(name, use, one.subscribed))
            self._settled.add(name)
        subscriptions = [our_name(name) for name in self._source.subscriptions()]
        incoming.settle(
            self._target.mailbox, list(wanted.values()), subscriptions, whole=self._source.whole
        )

    def _name(self, theirs: str) -> str:
        """Our name of a folder of the source; other ones are told."""
        ours = self._names.get(theirs)
        if ours is None:
            ours = self._names[theirs] = our_name(theirs)
            if ours != unicodedata.normalize("NFC", theirs) and theirs.upper() != INBOX:
                self._tell(Skipped(theirs, f"is named {ours} here"))
        return ours

    def _take(self, found: Found) -> None:
        mail = found.mail
        if len(mail.content) > self._largest:
            self._tell(Skipped(found.folder, f"a message is larger than {self._largest} octets"))
            return
        folder = self._name(found.folder)
        sha256 = hashlib.sha256(mail.content).digest()
        occurrence = 0 if found.unless_known else self._occurrence(folder, sha256, mail.date)
        new = Incoming(mail.content, sha256, mail.flags, mail.date, occurrence)
        mark = None if found.mark is None else Mark(*found.mark)
        self._waiting.setdefault(folder, []).append((new, mark))
        self._count += 1
        self._octets += len(mail.content)
        if self._count >= MESSAGES_AT_ONCE or self._octets >= OCTETS_AT_ONCE:
            self._flush()

    def _occurrence(self, folder: str, sha256: bytes, date: str) -> int:
        """How often the source had this message in this folder so far, with this time.

        A digest of 64 bits is remembered of each: if two were ever alike, a message that is there
        once would be taken for the second of two, and still come if it is missing.
        """
        key = hashlib.sha256(sha256 + date.encode() + folder.encode()).digest()[:8]
        number = int.from_bytes(key, "big")
        if number not in self._seen:
            self._seen.add(number)
            return 1
        self._again[number] = self._again.get(number, 1) + 1
        return self._again[number]

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, {}
        self._count = self._octets = 0
        for folder, batch in waiting.items():
            self._store(folder, batch)

    def _store(self, folder: str, batch: list[tuple[Incoming, Mark | None]]) -> None:
        target = self._target
        if folder not in self._settled:
            self._settled.add(folder)
            incoming.settle(
                target.mailbox, [Wanted(folder, None, subscribed=True)], (), whole=False
            )
        new = incoming.missing(target.mailbox, folder, [one for one, _ in batch])
        highest: dict[str, Mark] = {}
        for _, mark in batch:
            if mark is not None:
                highest[mark.name] = mark
        fits = target.usages.reserve(target.alias, [len(one.content) for one in new])
        held = sum(len(one.content) for one, fit in zip(new, fits, strict=True) if fit)
        try:
            count = fits.index(False) if not all(fits) else len(new)
            # the mark stays where it was when not all of the batch comes
            marks = list(highest.values()) if count == len(new) else []
            if count:
                target.usages.make_room(target.alias, target.mailbox)
            self._append(folder, new[:count], marks)
            self.done.known += len(batch) - len(new)
            if count < len(new):
                raise OverQuota(
                    f"the mailbox is full: {self.done.messages} messages came in this run; "
                    "give the command again when there is room"
                )
        finally:
            target.usages.release(target.alias, held)
            target.usages.flush()

    def _append(self, folder: str, new: list[Incoming], marks: list[Mark]) -> None:
        if not new and not marks:
            return
        mailbox = self._target.mailbox
        try:
            incoming.append_missing(mailbox, folder, new, marks)
        except TooManyResults as error:
            self._tell(Skipped(folder, f"{error}: {len(new)} messages came without keywords"))
            bare = [_without_keywords(one) for one in new]
            incoming.append_missing(mailbox, folder, bare, marks)
        self._target.usages.measure(self._target.alias, mailbox)
        if new:
            self.done.messages += len(new)
            self.done.octets += sum(len(one.content) for one in new)
            self._target.changed()

    def _tell(self, skipped: Skipped) -> None:
        self.done.left += 1
        if len(self.done.told) < TOLD_AT_MOST:
            self.done.told.append(Skipped(_shown(skipped.folder), _shown(skipped.what)))


def _without_keywords(one: Incoming) -> Incoming:
    """The message with its system flags alone."""
    return Incoming(
        one.content, one.sha256, Flags(one.flags.system), one.internal_date, one.occurrence
    )


def _shown(text: str) -> str:
    """Without what would do something to a terminal."""
    return "".join("_" if unicodedata.category(one) in _CONTROLS else one for one in text)


def our_name(theirs: str) -> str:
    """A folder's name as it may be here: nearest to what it is elsewhere."""
    text = _shown(unicodedata.normalize("NFC", theirs))
    levels = [level for level in text.split(SEPARATOR) if level] or ["_"]
    levels = [*levels[: MAX_DEPTH - 1], "_".join(levels[MAX_DEPTH - 1 :])]
    name = SEPARATOR.join(level for level in levels if level)
    try:
        return normalise(name)
    except InvalidInput:
        digest = hashlib.sha256(name.encode()).hexdigest()[:24]
        kept = name.encode()[:_KEPT_OCTETS].decode("utf-8", "ignore").rstrip(SEPARATOR)
        return normalise(f"{kept}~{digest}")
