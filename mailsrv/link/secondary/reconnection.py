"""What a front end does when a link is new, and when its primary asks or tells.

On a new connection the sessions of that primary are entered again. Then the folders that they
asked about are looked at: what was announced while the link was away nobody heard.
"""

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed

from mailsrv.errors import Elsewhere, KeyGone, MailsrvError, NoSuchFolder, Unavailable
from mailsrv.keys.vault import Vault
from mailsrv.link.mailbox_operations import (
    ChangesSince,
)
from mailsrv.link.operations import (
    RESUMED_AT_ONCE,
    Changed,
    Lending,
    LendKey,
    Logout,
    Resume,
    Revoked,
)
from mailsrv.link.sealed import ASK, seal_for
from mailsrv.link.secondary.line import Ask, Line
from mailsrv.link.secondary.primary_link import PrimaryLink
from mailsrv.link.secondary.requests import Asking, expected, resumed
from mailsrv.link.secondary.sessions import Held, tell_revoked
from mailsrv.link.wire.frames import NoteBody
from mailsrv.link.wire.served import Received
from mailsrv.store.interfaces import IListener
from mailsrv.store.notifications import FOLDER_LIST
from mailsrv.store.values import Access

LOOKED_AT_ONCE = 16
"""Sessions whose folders are looked at together: the others, and their clients, come after."""

AFTER_ALL = 2**63 - 1
"""No modseq is greater (rfc7162:300): asks for the folder's own and for no message."""


class Ownership:
    """The owner of all links of one front end."""

    def __init__(self, asking: Asking, vault: Vault) -> None:
        self._asking = asking
        self._vault = vault
        asking.missed = self.watch
        self._stale: dict[Held, None] = {}
        self._looks: dict[Held, Deferred[None]] = {}
        self._busy = False
        self.entering: dict[str, IListener | None] = {}
        """Listeners of sessions whose login is under way; who was revoked already is removed."""

    # IOwner

    def resume(self, link: PrimaryLink, line: Line) -> Deferred[None]:
        """Enter all sessions of that primary again."""
        return Deferred.fromCoroutine(self._resume(link, line))

    def resumed(self, link: PrimaryLink) -> None:
        """What happened meanwhile? And who waited for this primary?"""
        for held in self._asking.sessions.toward(link.name):
            self._follow(held, link.name)
        for held in self._asking.sessions.at(link.name):
            self.watch(held)

    def called(self, link: PrimaryLink, line: Line, call: Received) -> Deferred[Any]:
        """The one question of a primary."""
        operation = call.operation
        if not isinstance(operation, LendKey):
            return fail(Unavailable("not done here"))
        return succeed(self._lend(link, line, operation))

    def told(self, link: PrimaryLink, note: NoteBody) -> None:
        """News of a session."""
        if isinstance(note, Revoked):
            self._revoked(link, note)
        elif isinstance(note, Changed):
            held = self._asking.sessions.get(note.session)
            if held is not None and held.home == link.name:
                held.tell(note.folder_id, note.modseq)

    # Entering again

    async def _resume(self, link: PrimaryLink, line: Line) -> None:
        everyone = self._asking.sessions.at(link.name)
        for held in everyone:
            self._look_no_more(held)
        self._look()  # those of other primaries waited for these
        for start in range(0, len(everyone), RESUMED_AT_ONCE):
            batch = everyone[start : start + RESUMED_AT_ONCE]
            answers = await line.call(Ask(Resume(tuple(resumed(held) for held in batch))))
            if len(answers) != len(batch):
                raise Unavailable("the primary answered for other sessions")
            for held, answer in zip(batch, answers, strict=True):
                self._take(link, held, answer)

    def _take(self, link: PrimaryLink, held: Held, answer: Access | str) -> None:
        if not self._asking.sessions.holds(held) or held.home != link.name:
            link.hint(Logout(), held.id)
        elif isinstance(answer, str):
            self._ended(held, answer)
        else:
            self._asking.adopt(held, answer)

    def _ended(self, held: Held, reason: str) -> None:
        elsewhere = Elsewhere.said(reason)
        if elsewhere is None:
            self._asking.end(held, reason)
        else:
            self._follow(held, elsewhere.primary)

    def _follow(self, held: Held, primary: str) -> None:
        self._asking.follow(held, primary).addErrback(expected)

    def _revoked(self, link: PrimaryLink, note: Revoked) -> None:
        held = self._asking.sessions.get(note.session)
        if held is not None and held.home == link.name:
            self._ended(held, note.reason)
        elif note.session in self.entering and Elsewhere.said(note.reason) is None:
            tell_revoked(self.entering.pop(note.session), note.reason)

    # Looking for what was missed

    def watch(self, held: Held) -> None:
        """Look, when it is its turn, at the folders of a session that may have missed something."""
        if held.listener is not None:
            self._look_no_more(held)
            self._stale[held] = None
            self._look()

    def _look(self) -> None:
        # a look may end at once, and then it leads straight back here
        if self._busy:
            return
        self._busy = True
        while self._stale and len(self._looks) < LOOKED_AT_ONCE:
            held = next(iter(self._stale))
            del self._stale[held]
            # where there is no link now, its return looks again
            if self._asking.sessions.holds(held) and self._asking.links[held.home].up:
                look = self._looks[held] = Deferred.fromCoroutine(self._look_at(held))
                look.addErrback(expected).addBoth(self._looked, held, look)
        self._busy = False

    def _looked(self, _: None, held: Held, look: Deferred[None]) -> None:
        if self._looks.get(held) is look:
            del self._looks[held]
            self._look()

    def _look_no_more(self, held: Held) -> None:
        """What a look has asked and not heard would only be asked twice."""
        look = self._looks.pop(held, None)
        if look is not None:
            look.cancel()

    async def _look_at(self, held: Held) -> None:
        held.tell(FOLDER_LIST, 0)
        for folder_id, known in list(held.folders.items()):
            try:
                changes = await self._asking.ask(
                    held.access, ChangesSince(folder_id, AFTER_ALL, claim_recent=False)
                )
            except NoSuchFolder:
                held.tell(folder_id, known + 1)
            except MailsrvError:
                return  # the next reconnect looks again, or the session has ended
            else:
                if changes.modseq > known:
                    held.tell(folder_id, changes.modseq)

    # Lending

    def _lend(self, link: PrimaryLink, line: Line, asked: LendKey) -> Lending | None:
        """The key of a session of this alias that is entered at this primary, sealed to it."""
        for held in self._asking.sessions.of_alias(asked.alias):
            if held.home != link.name or held.access.mailbox != asked.mailbox:
                continue
            try:
                with self._vault.use(held.access.key) as key:
                    about = (asked.alias, asked.mailbox, held.id)
                    sealed = seal_for(line.sealer.public, key, ASK, asked.ask, 0, *about)
            except KeyGone:
                continue
            return Lending(held.id, sealed)
        return None
