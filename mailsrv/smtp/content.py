"""The message while it comes in: collected in memory, judged as it passes.

Mail is never written to a temporary file, so what all connections hold together is bounded by a
``Budget``. Whatever is wrong with a message is remembered and answered once, after its end: what
follows a message is only known to be a command when its end was seen.
"""

from mailsrv.smtp.reply import Reply

PIECE = 256 * 1024
"""Octets up to which what arrives is put together, so that small pieces cost what they weigh."""

_TOO_LARGE = Reply(552, "5.3.4", ("Message is larger than this server takes",))
_NO_MEMORY = Reply(452, "4.3.1", ("Too many messages in progress, try again later",))
_BARE = Reply(554, "5.6.0", ("Message has a bare CR or LF; lines end with CRLF",))
_NUL = Reply(554, "5.6.0", ("Message contains a NUL octet",))


class Budget:
    """Octets that messages in progress may hold together, in one process."""

    def __init__(self, octets: int) -> None:
        self._free = octets

    @property
    def free(self) -> int:
        return self._free

    def reserve(self, octets: int) -> bool:
        """Take so many octets, or none and return False."""
        if octets > self._free:
            return False
        self._free -= octets
        return True

    def release(self, octets: int) -> None:
        self._free += octets


class Incoming:
    """One message on its way in. ``close`` must be called, whatever becomes of it."""

    def __init__(self, limit: int, budget: Budget) -> None:
        self._limit = limit
        self._budget = budget
        self._pieces: list[bytearray] = []
        self._held = 0
        self.size = 0
        """Octets that came, also those that were not kept."""
        self.flaw: Reply | None = None
        self._crs = self._lfs = self._crlfs = 0
        self._ends_with_cr = False

    def add(self, octets: bytes) -> None:
        """Take the next octets, which are not empty; once there is a flaw they are dropped."""
        self.size += len(octets)
        if self.flaw is not None:
            return
        if self.size > self._limit:
            self._give_up(_TOO_LARGE)
        elif not self._budget.reserve(len(octets)):
            self._give_up(_NO_MEMORY)
        else:
            self._held += len(octets)
            if self._pieces and len(self._pieces[-1]) < PIECE:
                self._pieces[-1] += octets
            else:
                self._pieces.append(bytearray(octets))
            self._count(octets)

    def _count(self, octets: bytes) -> None:
        self._crs += octets.count(b"\r")
        self._lfs += octets.count(b"\n")
        # CRLF may be cut in two by the pieces.
        joined = self._ends_with_cr and octets.startswith(b"\n")
        self._crlfs += octets.count(b"\r\n") + joined
        self._ends_with_cr = octets.endswith(b"\r")
        if b"\0" in octets:
            self._give_up(_NUL)

    def _give_up(self, flaw: Reply) -> None:
        self.flaw = flaw
        self._pieces.clear()
        self._release()

    def finish(self) -> bytes | Reply:
        """The whole message, or why it is refused."""
        if self.flaw is None and not self._crs == self._lfs == self._crlfs:
            self._give_up(_BARE)
        if self.flaw is not None:
            return self.flaw
        content = b"".join(self._pieces)
        self._pieces.clear()
        return content

    def close(self) -> None:
        """Give the memory back to the budget. May be called twice."""
        self._pieces.clear()
        self._release()

    def _release(self) -> None:
        self._budget.release(self._held)
        self._held = 0
