"""After a commit, tell the sessions of the alias which folder to look at.

Nothing but ``(folder, modseq)`` travels; a session asks ``changes`` when it may speak. What
happens within one turn of the reactor is told once, with the highest modseq.
"""

from twisted.internet.interfaces import IReactorTime

from mailsrv.store.sessions import Session, Sessions
from mailsrv.store.workers import log_unexpected

FOLDER_LIST = 0
"""The folder id that stands for the list of folders."""


class Notifications:
    """Announces commits to listeners, on the reactor's thread."""

    def __init__(self, reactor: IReactorTime, sessions: Sessions) -> None:
        self._reactor = reactor
        self._sessions = sessions
        self._pending: dict[str, dict[int, int]] = {}

    def announce(self, alias: str, folder_id: int, modseq: int) -> None:
        """Say that a commit raised the folder's modseq. On the reactor's thread."""
        if not self._sessions.of_alias(alias):
            return
        if not self._pending:
            self._reactor.callLater(0, self._flush)
        folders = self._pending.setdefault(alias, {})
        folders[folder_id] = max(modseq, folders.get(folder_id, 0))

    def _flush(self) -> None:
        pending, self._pending = self._pending, {}
        for alias, folders in pending.items():
            for session in self._sessions.of_alias(alias):
                for folder_id, modseq in folders.items():
                    _tell(session, folder_id, modseq)


def _tell(session: Session, folder_id: int, modseq: int) -> None:
    if session.listener is None:
        return
    try:
        session.listener.changed(folder_id, modseq)
    except Exception as error:  # noqa: BLE001 - one listener's fault is not the others'
        log_unexpected(error)
