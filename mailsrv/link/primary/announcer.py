"""Telling a front end what its sessions should know, no faster than it reads.

While the transport is full, what is to be told is put together: one number for each session and
folder, however much happens there, and the end of a session instead of all that came before it.
"""

from collections.abc import Callable

import attrs
from zope.interface import implementer

from mailsrv.link.operations import (
    Changed,
    Revoked,
)
from mailsrv.link.wire.peer import Peer
from mailsrv.store.interfaces import IListener


class Announcer:
    """Tells one front end. ``peer`` gives the connection's peer, which comes later than this."""

    def __init__(self, peer: Callable[[], Peer]) -> None:
        self._peer = peer
        self._changed: dict[str, dict[int, int]] = {}
        self._revoked: dict[str, str] = {}
        self._waiting = False
        self._closed = False

    @property
    def kept(self) -> int:
        """How much waits to be told."""
        return sum(map(len, self._changed.values())) + len(self._revoked)

    def changed(self, session: str, folder_id: int, modseq: int) -> None:
        """A folder of a session's mailbox changed."""
        if self._closed or session in self._revoked:
            return
        peer = self._peer()
        if not self._waiting and not peer.full:
            peer.tell(Changed(session, folder_id, modseq))
            return
        folders = self._changed.setdefault(session, {})
        folders[folder_id] = max(modseq, folders.get(folder_id, 0))
        self._wait(peer)

    def revoked(self, session: str, reason: str) -> None:
        """A session holds no longer."""
        if self._closed:
            return
        peer = self._peer()
        if not self._waiting and not peer.full:
            peer.tell(Revoked(session, reason))
            return
        self._changed.pop(session, None)
        self._revoked[session] = reason
        self._wait(peer)

    def forget(self, session: str) -> None:
        """A session has logged out: it wants to hear nothing more."""
        self._changed.pop(session, None)
        self._revoked.pop(session, None)

    def close(self) -> None:
        """The connection is gone."""
        self._closed = True
        self._changed.clear()
        self._revoked.clear()

    def _wait(self, peer: Peer) -> None:
        if not self._waiting:
            self._waiting = True
            peer.drained().addCallback(lambda _: self._flush(peer))

    def _flush(self, peer: Peer) -> None:
        self._waiting = False
        while (self._revoked or self._changed) and not peer.full:
            self._tell_one(peer)
        if self._revoked or self._changed:
            self._wait(peer)

    def _tell_one(self, peer: Peer) -> None:
        if self._revoked:
            session = next(iter(self._revoked))
            peer.tell(Revoked(session, self._revoked.pop(session)))
            return
        session, folders = next(iter(self._changed.items()))
        folder_id, modseq = folders.popitem()
        if not folders:
            del self._changed[session]
        peer.tell(Changed(session, folder_id, modseq))


@implementer(IListener)
@attrs.frozen(eq=False)
class Ear:
    """One session's listener at the primary. One that does not listen hears of its end alone."""

    announcer: Announcer
    session: str
    listens: bool
    ended: Callable[[str, str], None]
    """Called with the session and the reason, before the front end is told."""

    def changed(self, folder_id: int, modseq: int) -> None:
        if self.listens:
            self.announcer.changed(self.session, folder_id, modseq)

    def revoked(self, reason: str) -> None:
        self.ended(self.session, reason)
        self.announcer.revoked(self.session, reason)
