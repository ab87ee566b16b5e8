"""Copies the frames of a mailbox's log before they are overwritten, and shows that none is missing.

SQLite begins a log anew once all of it is in the main file, and other processes may write to the
mailbox too. So before a chain of frames goes on it is shown each time that nothing was written
which was not captured:

* Within a write transaction nobody else writes. Where it begins, the log must have the header
  that it had, and nobody may have committed since its frames were counted. If it has another header
  when it commits, the transaction itself began the log anew; all before must have been captured.
* When the mailbox is opened, the log must be as it was left: the same header, the last captured
  frame still in its place. Or the main file must have the size and time that it was given when
  all of the log was in it: whoever copies more of a log to it changes the time.
* A power cut may take away commits that did not wait for the disk. After one only a mailbox
  without a log counts, and that it has one is on disk before anything is written to it.

With any doubt the chain ends, and a new one needs a new copy of the main file.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from mailsrv.mailbox.wal import frames
from mailsrv.mailbox.wal.evidence import LogFile, Stamp, set_stamp, stamp
from mailsrv.mailbox.wal.segments import Mark, Segment
from mailsrv.mailbox.wal.spool import Spool, State

SEGMENT_FRAMES = 4096
"""A segment has no more, unless it is of one transaction."""


class BaseStart(NamedTuple):
    """A copy of the main file is about to be made."""

    chain: str
    alias: str
    number: int
    """Of the first segment that belongs to it."""

    milliseconds: int


class BaseEnd(NamedTuple):
    """From here on the copy and its segments are the mailbox as it was at that time."""

    captured: int
    """Frames of the chain that have to be applied at least."""

    number: int
    """Of the segment behind them."""

    milliseconds: int


class Capture:
    """One mailbox. All methods under its keeper's mutex; ``milliseconds`` tells the time in UTC."""

    def __init__(
        self, path: Path, spool: Spool, milliseconds: Callable[[], int], boot: str
    ) -> None:
        self.path = path
        self.spool = spool
        self.state = State(boot=boot)
        self.problem = ""
        """Why the last chain ended, or could not begin."""

        self.end = 0
        """Committed frames in the log."""

        self._log = LogFile(path)
        self._milliseconds = milliseconds
        self._boot = boot
        self._known = b""
        self._marks: list[tuple[int, int]] = []
        self._counted = False
        self._load(spool.load())

    @property
    def active(self) -> bool:
        """Whether there is a chain."""
        return bool(self.state.chain)

    @property
    def behind(self) -> bool:
        """Whether there is something to capture."""
        return self.active and self.state.frame < self.end

    # What connections tell

    def resume(self, committed: int) -> None:
        """The mailbox was opened; its log has so many committed frames."""
        with self._breaking():
            header = self._log.header()
            if self.active and not self._continues(header, committed):
                self.break_off("the mailbox was changed by another process, or by a power cut")
            elif self.active and not self._is_at(header, committed):
                self._marks.clear()
                self.spool.forget_marks()
                self._begin_log(header, self.state.closed)
            self._known = header
        self._marks = [one for one in self._marks if one[0] <= committed]
        self.end = self._marks[-1][0] if self._marks else self.state.frame
        self.reach(committed)

    def reach(self, committed: int) -> None:
        """The log has so many committed frames: others have written, and when is not known."""
        if committed > self.end:
            self._mark(committed)
            if self.active:
                with self._breaking():  # who goes on after a crash takes it for no part of the next
                    self.spool.note(self._known, *self._marks[-1], anew=False)

    def begun(self, *, counted: bool) -> None:
        """A write transaction has begun: the log stands still, but for what this one writes.

        ``counted`` says that nobody has committed since ``reach``.
        """
        self._counted = False
        with self._breaking():
            self._note_writing()
            self._require_same()
            self._counted = counted

    def committed(self, frame: int, alone: Callable[[], bool]) -> None:
        """It has been committed; the log has so many frames now.

        ``alone`` tells whether nobody else has committed since ``reach``: the lock is given back.
        """
        with self._breaking():
            anew = self._look_for_beginning(alone)
            self._mark(frame)
            if self.active:
                self.spool.note(self._known, *self._marks[-1], anew=anew)
        self.end = frame
        self._counted = False

    def undone(self) -> None:
        """It is about to be undone; but what it began anew stays so."""
        with self._breaking():
            if self._look_for_beginning(lambda: True):
                self.end = 0
                if self.active:
                    self.spool.note(self._known, 0, self._milliseconds(), anew=True)
        self._counted = False

    def emptying(self) -> None:
        """It is about to be emptied, as far as it was not by others already."""
        with self._breaking():
            self._require_same()

    def copied(self, is_so: Callable[[], bool], *, writing: bool) -> None:
        """All of the log is captured and in the main file, as ``is_so`` confirms.

        Now it may begin anew: should we be killed then, the file shows that nothing was lost.
        ``writing`` says that somebody is about to write.
        """
        if not self.active or not self.end or self.behind:
            return
        with self._breaking():
            closed = set_stamp(self.path)
            # who wrote before that is seen by this, who writes later changes the time
            if closed is not None and is_so():
                self.state = replace(self.state, closed=closed, writing=writing)
                self._save()

    def emptied(self) -> None:
        """The log, of which all was ``copied``, has no frame now."""
        self.end = 0
        self._marks.clear()
        with self._breaking():
            self._known = self._log.header()
            if self.active:
                self.spool.forget_marks()
                closed = self.state.closed if self._is_as_closed() else set_stamp(self.path)
                self._begin_log(self._known, closed)
                self._save()

    def let_go(self) -> None:
        """No connection is open."""
        self._log.close()
        self.spool.let_go()

    # Capturing

    def capture(self) -> None:
        """Copy all committed frames to segments. What fails ends the chain, never the mailbox."""
        with self._breaking():
            while self.behind:
                self._capture_some()

    def break_off(self, why: str) -> None:
        """End the chain: what is captured stays good, what comes does not belong to it."""
        self.problem = why
        self.state = State(boot=self._boot, alias=self.state.alias, prune=self.state.prune)
        self._marks.clear()
        try:
            self._save()
        except OSError:
            self.spool.forget_state()
        self.spool.forget_marks()

    def update(self, **changes: object) -> None:
        """Change what is not of the capture itself: what was shipped, the base."""
        self.state = replace(self.state, **changes)
        with self._breaking():
            self._save()

    # Bases

    def begin(self, chain: str, alias: str, *, opened: bool) -> bool:
        """Begin a chain, of which nothing is captured. False when this is no moment for it.

        ``opened`` says whether connections are open, so that the committed frames are known.
        """
        self.problem = ""
        with self._breaking():
            header, empty = self._log.header(), not self._log.octets()
            if opened:
                if header != self._known:
                    return False  # others are at work; the next write here sees what they did
            elif not empty:
                return False  # what of it is committed is not known until somebody opens it
            if empty:
                self._known, self.end = b"", 0
            self.spool.forget_marks()
            closed = set_stamp(self.path) if empty else None
            fresh = State(boot=self._boot, alias=alias, prune=self.state.prune)
            self.state = replace(fresh, chain=chain, log=header, closed=closed)
            self._marks = [(self.end, self._milliseconds())] if self.end else []
            self._save(durable=True)
        return self.active

    def begin_base(self) -> BaseStart:
        """Copying of the main file may begin: frames of the present log belong to the copy."""
        state = self.state
        return BaseStart(state.chain, state.alias, state.first, self._milliseconds())

    def end_base(self, start: BaseStart) -> BaseEnd | None:
        """The main file was copied. None when it cannot be shown now that all frames are there."""
        self.capture()
        state = self.state
        with self._breaking():
            if state.chain == start.chain and self._is_unchanged():
                return BaseEnd(state.captured, state.number, max(start.milliseconds, state.moment))
        return None

    # Behind these

    def _load(self, state: State) -> None:
        if state.boot != self._boot:
            # segments did not wait for the disk
            self._discard(lambda _chain, _number: True)
        else:
            self._discard(lambda chain, number: chain == state.chain and number >= state.number)
        self.state = state
        if not state.chain:
            return
        log, marks = self.spool.marks()
        if log and log != state.log:
            # written by who had shown that the log began anew after all had been captured
            self._begin_log(log, state.closed)
        self._marks = [one for one in marks if one[0] > self.state.frame]
        self.end = self._marks[-1][0] if self._marks else self.state.frame
        self._known = self.state.log
        whole = state.closed is not None and not state.writing and state.shipped == state.number
        if state.boot != self._boot and not whole:
            self.break_off("the operating system was started again while the mailbox was open")

    def _discard(self, which: Callable[[str, int], bool]) -> None:
        for one in self.spool.waiting():
            if which(one.chain, one.number):
                with suppress(OSError):
                    one.path.unlink(missing_ok=True)

    def _require_same(self) -> None:
        """The log has to be the one that is known, or it may lack what nobody captured."""
        header = self._log.header()
        # another process may have begun one, and emptied it, where there was none
        same = header == self._known and (header or self._is_as_closed())
        if self.active and not same:
            self.break_off("another process began the log anew")
        self._known = header

    def _look_for_beginning(self, alone: Callable[[], bool]) -> bool:
        """Whether the transaction under way began the log anew."""
        header = self._log.header()
        if header == self._known:
            return False
        if self.active:
            # asked after the header was read: whoever comes later changes it once more
            if self._counted and self.state.frame == self.end and alone():
                self._begin_log(header, self.state.closed)
            else:
                self.break_off("the log began anew before all of it was captured")
        self._known = header
        self._marks.clear()
        return True

    def _begin_log(self, header: bytes, closed: Stamp | None = None) -> None:
        """What is captured next is the first frame of the log with this header."""
        state = self.state
        self.state = replace(
            state, log=header, frame=0, last=b"", first=state.number, closed=closed
        )

    def _continues(self, header: bytes, committed: int) -> bool:
        """Whether what the opened mailbox has is what was left, and perhaps more."""
        # where nothing got into the main file whatever else is in the log came since
        return self._is_at(header, committed) or self._is_as_closed()

    def _is_at(self, header: bytes, committed: int) -> bool:
        """Whether the log has not begun anew since its frames were captured."""
        known = bool(header) and header == self.state.log
        return known and committed >= self.state.frame and self._is_in_place()

    def _is_as_closed(self) -> bool:
        """Whether nothing got into the main file since it had all of the log."""
        return self.state.closed is not None and stamp(self.path) == self.state.closed

    def _is_in_place(self) -> bool:
        state = self.state
        return not state.frame or self._log.frame_header(state.frame) == state.last

    def _is_unchanged(self) -> bool:
        """Whether the log has no frames that are not known; also not of who gave up a write."""
        header = self._log.header()
        if header != self._known or frames.belongs(self._log.frame_header(self.end + 1), header):
            return False
        return self.state.closed is None or self._is_as_closed()

    def _note_writing(self) -> None:
        """That the mailbox is written to is on disk before it is."""
        if self.state.closed is not None and not self.state.writing:
            self.state = replace(self.state, writing=True)
            self._save(durable=True)

    def _capture_some(self) -> None:
        frame = self.state.frame
        marks = [one for one in self._marks if one[0] > frame]
        taken = [one for one in marks if one[0] <= frame + SEGMENT_FRAMES] or marks[:1]
        header, last = self._log.header(), taken[-1][0]
        if header != self._known or not self._is_in_place():
            self.break_off("the log was begun anew by another process")
            return
        segment = self._segment(taken)
        draft = self.spool.put(segment, self._log.frames(frame + 1, last - frame, header))
        last_header = self._log.frame_header(last)
        if not frames.parse(last_header).pages or self._log.header() != header:
            draft.unlink()
            self.break_off("the log does not end with a commit where one was")
            return
        self.spool.accept(draft, segment)
        self.state = replace(
            self.state,
            number=segment.number + 1,
            captured=segment.last,
            moment=taken[-1][1],
            log=header,
            frame=last,
            last=last_header,
            closed=None,
        )
        self._save()
        self._marks = [one for one in self._marks if one[0] > last]

    def _segment(self, marks: list[tuple[int, int]]) -> Segment:
        state = self.state
        before = state.captured - state.frame
        return Segment(
            chain=state.chain,
            number=state.number,
            first=state.captured + 1,
            marks=tuple(Mark(before + frame, milliseconds) for frame, milliseconds in marks),
        )

    def _mark(self, frame: int) -> None:
        # a clock that was set back must not bring commits out of their order
        latest = self._marks[-1][1] if self._marks else self.state.moment
        self._marks.append((frame, max(latest, self._milliseconds())))
        if not self.active:
            del self._marks[:-1]
        self.end = frame

    @contextmanager
    def _breaking(self) -> Iterator[None]:
        """What the operating system refuses ends the chain and nothing else."""
        try:
            yield
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            self.break_off(f"the log could not be captured: {reason}")

    def _save(self, *, durable: bool = False) -> None:
        self.state = replace(self.state, boot=self._boot)
        self.spool.save(self.state, durable=durable)
