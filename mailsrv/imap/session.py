"""One client from greeting to goodbye: reads commands one after the other and answers them.

The session is one coroutine. It takes a command from the framer only when the one before has been
answered in full, so that nothing of a later command is interpreted under an older state: limits,
login, TLS and the selected folder are always those that the client's order of commands implies.
What other sessions do is spoken of only between commands and in IDLE (rfc3501, 5.2 and 7.4.1).
"""

from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from mailsrv.errors import MailsrvError, NoSuchFolder
from mailsrv.imap import wire
from mailsrv.imap.command import AUTH, SELECT, UNAUTH, Command, Table
from mailsrv.imap.connection import Connection
from mailsrv.imap.entrance import Entrance
from mailsrv.imap.failures import explain, report
from mailsrv.imap.grammar import parse_head
from mailsrv.imap.options import ImapOptions
from mailsrv.imap.reply import Bad, Bye, Done, No, status
from mailsrv.imap.selected import SelectedFolder
from mailsrv.store.interfaces import IListener, IStore
from mailsrv.store.values import Access

CROWDED = 256 * 1024
"""Octets that may wait behind a running command before reading pauses."""

LEAVE_PATIENCE = 10.0
"""Seconds that a running command gets to finish when its session has to end."""

STREAK = 32
"""Pipelined commands in a row before other connections get their turn."""


@implementer(IListener)
class Session:
    """The state of rfc3501 section 3, and the loop that serves it."""

    def __init__(
        self,
        store: IStore,
        options: ImapOptions,
        clock: IReactorTime,
        connection: Connection,
        table: Table,
    ) -> None:
        self.store = store
        self.options = options
        self.clock = clock
        self.connection = connection
        self.table = table
        self.output = connection.output
        self.entrance = Entrance(store, self)
        self.framer = wire.Framer(wire.BEFORE_LOGIN, self._append_room)
        self.access: Access | None = None
        self.selected: SelectedFolder | None = None
        self.opening: dict[int, int] | None = None
        """While a folder is being selected: what the store announces meanwhile."""
        self.enabled: set[str] = set()
        self.over = False
        self.waiting = False
        """Whether the session has nothing to do until the client or the mailbox stirs."""
        self.unbroken = False
        """Whether a literal is half written, so that no line may come between."""
        self.tag = ""
        """Of the command being served."""
        self.then: Callable[[], None] | None = None
        """Called once the tagged answer has been written."""
        self._bad_commands = 0
        self._streak = 0
        self._stirred = False
        self._wake: Deferred[None] | None = None
        self._leaving: Bye | None = None
        self._cut: IDelayedCall | None = None
        self._running: Deferred[None] | None = None

    # Life

    @property
    def state(self) -> str:
        """The state's name, as IMAP4Server spells it."""
        if self.access is None:
            return UNAUTH
        return AUTH if self.selected is None else SELECT

    def start(self, greeting: bytes) -> None:
        """Greet, then serve until the end."""
        self.output.write(greeting)
        self._running = Deferred.fromCoroutine(self._serve())
        self._running.addErrback(self._failed)

    def receive(self, data: bytes) -> None:
        """Octets from the client."""
        self.framer.receive(data)
        self._poke()

    @property
    def crowded(self) -> bool:
        """Whether so much waits behind the running command that reading should pause."""
        return not self.waiting and self.framer.buffered >= CROWDED

    def leave(self, text: str, code: str | None = None) -> None:
        """Say BYE after the command that is running, and close; it has LEAVE_PATIENCE seconds."""
        if self._leaving is None and not self.over:
            self._leaving = Bye(text, code)
            self._cut = self.clock.callLater(LEAVE_PATIENCE, self.connection.cut)
        self._poke()

    def lost(self) -> None:
        """The connection is gone: give everything back."""
        self.over = True
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
        self._finish()

    def _finish(self) -> None:
        self.over = True
        access, self.access = self.access, None
        self.selected = None
        if access is not None:
            self.store.logout(access)
        if self._cut is not None and self._cut.active():
            self._cut.cancel()

    def _failed(self, failure: Failure) -> None:
        # once the connection is lost, that the coroutine was cancelled is no news
        if not self.over:
            self._finish()
            report(failure, "session")
            self.connection.hang_up()

    # IListener

    def changed(self, folder_id: int, modseq: int) -> None:
        """The store says that a folder changed; IDLE speaks of it at once."""
        if self.opening is not None:
            self.opening[folder_id] = modseq
        if self.selected is not None and folder_id == self.selected.id:
            self.selected.hear(modseq)
            if self.selected.behind:
                self._stirred = True
                self._poke()

    def revoked(self, _reason: str) -> None:
        """The store says that this login no longer holds."""
        self.leave("Your access has changed, please log in again", "UNAVAILABLE")

    # The loop

    async def _serve(self) -> None:
        try:
            while not self.over:
                event = self.framer.next_event()
                if event is None:
                    self.output.flush()
                    await self.wait()
                else:
                    await self._take(event)
                    if not self.over:
                        await self._give_way()
        except Bye as bye:
            self._say_goodbye(bye)

    def _say_goodbye(self, bye: Bye) -> None:
        self._finish()
        if not self.unbroken:
            self.output.write(status("*", "BYE", bye.text, bye.code))
            if bye.done is not None:
                self._answer(self.tag, bye.done)
        self.connection.hang_up()

    async def wait(self, seconds: float | None = None) -> None:
        """Until the client sends, the folder changes or the time is over; Bye when leaving."""
        if self._leaving is not None:
            raise self._leaving
        if self._stirred:
            self._stirred = False
            return
        self._streak = 0
        self.waiting = True
        self._wake = Deferred()
        timer = None if seconds is None else self.clock.callLater(seconds, self._poke)
        self.connection.relieved()
        try:
            await self._wake
        finally:
            self.waiting = self._stirred = False
            self._wake = None
            if timer is not None and timer.active():
                timer.cancel()
        if self._leaving is not None:
            raise self._leaving

    def _poke(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None:
            wake.callback(None)

    async def pause(self, seconds: float) -> None:
        """Let time pass, and the client wait."""
        over: Deferred[None] = Deferred(lambda _: timer.cancel())
        timer = self.clock.callLater(seconds, over.callback, None)
        await over

    async def _give_way(self) -> None:
        if self._leaving is not None:
            raise self._leaving
        await self.output.drain()
        self._streak += 1
        if self._streak >= STREAK:
            self._streak = 0
            self.output.flush()
            await self.pause(0)

    async def _take(self, event: wire.Event) -> None:
        if isinstance(event, wire.Command):
            await self._perform(event.parts)
        elif isinstance(event, wire.NeedContinuation):
            self.ask(b"Ready for the literal")
        elif isinstance(event, wire.TooLong | wire.LiteralTooLarge | wire.BadLine):
            self._refuse(event)

    def ask(self, text: bytes) -> None:
        """A continuation request (rfc3501, 7.5)."""
        self.output.write(b"+ %b\r\n" % text)
        self.output.flush()

    def take_line(self) -> bytes | None:
        """The raw line asked for with ``framer.next_line``, None while it is not there."""
        event = self.framer.next_event()
        if isinstance(event, wire.Line):
            return event.data
        if event is not None:
            raise Bye("That line is too long")
        return None

    async def line(self, limit: int) -> bytes:
        """One raw line of at most ``limit`` octets."""
        self.framer.next_line(limit)
        while (line := self.take_line()) is None:
            await self.wait()
        return line

    # Commands

    def _append_room(self, _head: bytes, _index: int) -> int:
        return 0 if self.access is None else self.options.append_limit

    def _refuse(self, event: wire.TooLong | wire.LiteralTooLarge | wire.BadLine) -> None:
        tag = event.tag or "*"
        if isinstance(event, wire.LiteralTooLarge) and event.message and self.access:
            self._answer(tag, No("The message is too large", "TOOBIG"))
        else:
            reason = event.reason if isinstance(event, wire.BadLine) else "that is too long"
            self._answer(tag, Bad(reason.capitalize()))
        if event.fatal:
            raise Bye("The connection cannot go on after that")

    async def _perform(self, parts: tuple[bytes, ...]) -> None:
        self.tag = wire.tag_of(parts[0])
        command: Command | None = None
        answer: Done | No | Bad
        try:
            command, argument = self._read(parts)
            answer = await command.handler(self, argument)
        except Bye:
            raise
        except Exception as error:
            if self.over:
                raise
            answer = explain(error, command.name if command else "parser")
            if self.unbroken:
                raise Bye("An answer broke off") from None
        if command is not None and not isinstance(answer, Bad):
            await self.speak(expunge=command.expunge)
        self._answer(self.tag or "*", answer)
        then, self.then = self.then, None
        if then is not None:
            self.output.flush()
            then()

    def _read(self, parts: tuple[bytes, ...]) -> tuple[Command, object]:
        head = parse_head(parts)
        name = f"UID {head.name}" if head.uid else head.name
        command = self.table.commands.get(name)
        if command is None or self.state not in command.states:
            raise Bad("That is no command, or none for now")
        arguments = head.arguments
        if not arguments.at_end():
            arguments.space()
        return command, command.parse(arguments)

    def _answer(self, tag: str, answer: Done | No | Bad) -> None:
        if isinstance(answer, Bad):
            self.output.write(status(tag, "BAD", answer.text))
            self.count_bad()
        elif isinstance(answer, No):
            self.output.write(status(tag, "NO", answer.text, answer.code))
        else:
            self._bad_commands = 0
            self.output.write(status(tag, "OK", answer.text, answer.code))

    def count_bad(self) -> None:
        """Note nonsense from the client; Bye when there was too much of it in a row."""
        self._bad_commands += 1
        before = self.access is None
        options = self.options
        limit = options.bad_commands_before_login if before else options.bad_commands_after_login
        if self._bad_commands >= limit and not self.over:
            raise Bye("Too many bad commands")

    # Speaking of the selected folder

    async def speak(self, *, expunge: bool = True, ask: bool = False) -> None:
        """Say what happened in the selected folder; ``ask`` the store even if nobody called."""
        await self.learn(ask=ask)
        if self.selected is not None:
            await self.send(self.selected.lines(expunge=expunge, modseq=self.condstore))

    async def learn(self, *, ask: bool = False) -> None:
        """Ask the store what happened in the selected folder, and keep it to be spoken of.

        When the store cannot tell now, the next command asks again.
        """
        folder = self.selected
        if folder is None or self.access is None or not (ask or folder.behind):
            return
        try:
            changes = await self.store.changes(
                self.access, folder.id, folder.modseq, folder.writable
            )
        except NoSuchFolder:
            self.leave("The selected folder has been deleted")
        except MailsrvError:
            return
        else:
            folder.absorb(changes)

    async def send(self, chunks: Iterable[bytes]) -> None:
        """Write all chunks, no faster than the client reads."""
        for chunk in chunks:
            self.output.write(chunk)
            if self.output.full:
                await self.output.drain()

    def tell(self, line: bytes) -> None:
        """One untagged response, without its end."""
        self.output.write(b"* %b\r\n" % line)

    # CONDSTORE

    @property
    def condstore(self) -> bool:
        """Whether the client knows of mod-sequences (rfc7162:388)."""
        return "CONDSTORE" in self.enabled

    def enable_condstore(self) -> None:
        """The client used something of CONDSTORE; tell where it stands (rfc7162:403)."""
        if not self.condstore:
            self.enabled.add("CONDSTORE")
            if self.selected is not None:
                self.tell(b"OK [HIGHESTMODSEQ %d] Mod-sequences begin" % self.selected.modseq)

    # Logging in, for handlers and mechanisms

    @property
    def may_log_in(self) -> bool:
        """Whether a password may be sent over this connection."""
        connection = self.connection
        return connection.secure or self.options.allows_cleartext(connection.host)

    @property
    def door(self) -> Access:
        """The access of a session that has logged in."""
        if self.access is None:
            raise No("Log in first")
        return self.access

    @property
    def folder(self) -> SelectedFolder:
        """The selected folder of a session that has one."""
        if self.selected is None:
            raise No("Select a folder first")
        return self.selected

    def admit(self, access: Access) -> None:
        """The client is who it says: the authenticated state begins."""
        self.access = access
        self.framer.limits = wire.AFTER_LOGIN
        self.connection.admitted()
