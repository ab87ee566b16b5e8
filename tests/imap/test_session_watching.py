"""Sessions that watch each other: what one does, the others learn, when they may."""

from itertools import islice

from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailsrv.store.values import Delivery
from tests.imap.talking import ADDRESS, Client, ImapTestCase, message

GONE = b"NO [EXPUNGEISSUED] Some of these messages are gone"


class WatchingTestCase(ImapTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.fill([b"one", b"two", b"three", b"four"])
        self.inbox = self.store.mailbox(ADDRESS).named("INBOX")
        self.one, self.two = self.opened(), self.opened()

    def opened(self) -> Client:
        client = self.logged_in()
        client.select()
        return client

    def deliver(self, name: bytes) -> None:
        delivery = Delivery(message(name), name.decode(), "2026-11-23T10:00:00Z")
        self.successResultOf(self.store.deliver(self.alias, delivery))


class NoopTests(WatchingTestCase):
    def test_new_mail(self) -> None:
        self.one.say(b"APPEND INBOX {3+}\r\na\r\n")
        self.assertEqual(
            self.two.say(b"NOOP"), [b"* 5 EXISTS", b"* 0 RECENT", b"OK NOOP completed"]
        )
        self.deliver(b"new")
        self.assertEqual(
            self.two.say(b"NOOP"), [b"* 6 EXISTS", b"* 1 RECENT", b"OK NOOP completed"]
        )
        self.assertEqual(self.one.say(b"NOOP")[:2], [b"* 6 EXISTS", b"* 5 RECENT"])

    def test_flags(self) -> None:
        self.one.say(b"STORE 2 +FLAGS (\\Seen blue)")
        self.assertEqual(
            self.two.say(b"NOOP")[2:],
            [b"* 2 FETCH (FLAGS (\\Seen blue))", b"OK NOOP completed"],
        )
        self.two.say(b"ENABLE CONDSTORE")
        self.one.say(b"STORE 2 -FLAGS (blue)")
        self.assertEqual(self.two.say(b"NOOP")[0], b"* 2 FETCH (UID 2 FLAGS (\\Seen) MODSEQ (7))")

    def test_seen_by_reading(self) -> None:
        self.one.say(b"FETCH 3 BODY[TEXT]")
        self.assertEqual(self.one.say(b"NOOP"), [b"OK NOOP completed"])
        self.assertEqual(self.two.say(b"NOOP")[0], b"* 3 FETCH (FLAGS (\\Seen))")

    def test_expunge(self) -> None:
        self.one.say(b"STORE 1,3 +FLAGS.SILENT (\\Deleted)")
        self.one.say(b"EXPUNGE")
        self.assertEqual(
            self.two.say(b"NOOP"), [b"* 3 EXPUNGE", b"* 1 EXPUNGE", b"OK NOOP completed"]
        )
        self.assertEqual(self.two.say(b"FETCH 1:2 UID")[0], b"* 1 FETCH (UID 2)")

    def test_move_and_copy_between_folders(self) -> None:
        self.two.select(b"Archive")
        self.one.say(b"MOVE 1 Archive")
        self.assertIn(b"* 1 EXISTS", self.two.say(b"NOOP"))

    def test_waiting_mail_is_fetched(self) -> None:
        owner = self.store._aliases[ADDRESS]
        owner.waiting.append(Delivery(message(b"w"), "w", "2026-11-23T10:00:00Z"))
        self.assertIn(b"* 5 EXISTS", self.one.say(b"NOOP"))

    def test_messages_that_came_and_went_are_not_spoken_of(self) -> None:
        self.one.say(b"APPEND INBOX (\\Deleted) {3+}\r\na\r\n")
        self.one.say(b"EXPUNGE")
        self.assertEqual(self.two.say(b"NOOP"), [b"OK NOOP completed"])

    def test_own_and_foreign_changes_at_once(self) -> None:
        self.one.say(b"STORE 1 +FLAGS.SILENT (\\Flagged)")
        # two writes before it has heard of that: it learns the foreign flag, and its own no more
        lines = self.two.say(b"STORE 2 +FLAGS (\\Seen)")
        self.assertEqual(
            lines,
            [
                b"* 2 FETCH (FLAGS (\\Seen))",
                b"* 1 FETCH (FLAGS (\\Flagged))",
                b"OK STORE completed",
            ],
        )


class UnspokenTests(WatchingTestCase):
    """What is expunged keeps its number until that is said."""

    def setUp(self) -> None:
        super().setUp()
        self.one.say(b"STORE 2 +FLAGS.SILENT (\\Deleted)")
        self.one.say(b"EXPUNGE")

    def test_fetch_store_search_keep_the_numbers(self) -> None:
        self.assertEqual(
            self.two.say(b"FETCH 1:3 UID"), [b"* 1 FETCH (UID 1)", b"* 3 FETCH (UID 3)", GONE]
        )
        self.assertEqual(
            self.two.say(b"FETCH 3 UID"), [b"* 3 FETCH (UID 3)", b"OK FETCH completed"]
        )
        self.assertEqual(
            self.two.say(b"STORE 2:3 +FLAGS (\\Seen)"), [b"* 3 FETCH (FLAGS (\\Seen))", GONE]
        )
        self.assertEqual(self.two.say(b"SEARCH ALL"), [b"* SEARCH 1 3 4", b"OK SEARCH completed"])
        self.assertEqual(self.two.say(b"NOOP"), [b"* 2 EXPUNGE", b"OK NOOP completed"])
        self.assertEqual(self.two.say(b"FETCH 2 UID")[0], b"* 2 FETCH (UID 3)")

    def test_copy_and_move_by_number_touch_nothing(self) -> None:
        for command in (b"COPY 1:3 Archive", b"MOVE 1:3 Archive"):
            two = self.opened() if command.startswith(b"MOVE") else self.two
            if two is not self.two:
                self.one.say(b"STORE 2 +FLAGS.SILENT (\\Deleted)")
                self.one.say(b"EXPUNGE")
            self.assertEqual(two.say(command)[-1], GONE)
        self.assertEqual(self.store.mailbox(ADDRESS).named("Archive").messages, {})

    def test_uid_commands_tell_and_do_not_mind(self) -> None:
        self.assertEqual(
            self.two.say(b"UID FETCH 1:3 FLAGS")[-2:], [b"* 2 EXPUNGE", b"OK FETCH completed"]
        )
        self.assertEqual(self.two.say(b"UID FETCH 2 FLAGS"), [b"OK FETCH completed"])

    def test_new_mail_meanwhile_counts_with_what_is_unspoken(self) -> None:
        self.deliver(b"five")
        self.assertEqual(
            self.two.say(b"FETCH 4 UID"),
            [b"* 4 FETCH (UID 4)", b"* 5 EXISTS", b"* 1 RECENT", b"OK FETCH completed"],
        )
        self.assertEqual(self.two.say(b"NOOP"), [b"* 2 EXPUNGE", b"OK NOOP completed"])
        self.assertEqual(self.two.say(b"FETCH 4 UID")[0], b"* 4 FETCH (UID 5)")


class IdleTests(WatchingTestCase):
    def test_everything_is_told_at_once(self) -> None:
        self.assertEqual(self.two.say(b"IDLE"), [b"+ idling"])
        self.one.say(b"STORE 1 +FLAGS.SILENT (\\Deleted)")
        self.assertEqual(self.two.heard(), [b"* 1 FETCH (FLAGS (\\Deleted))"])
        self.one.say(b"EXPUNGE")
        self.assertEqual(self.two.heard(), [b"* 1 EXPUNGE"])
        self.deliver(b"new")
        self.assertEqual(self.two.heard(), [b"* 4 EXISTS", b"* 1 RECENT"])
        self.two.send(b"done\r\n")
        self.assertEqual(self.two.heard(), [b"t3 OK IDLE completed"])

    def test_what_happened_before_is_told_first(self) -> None:
        self.deliver(b"new")
        self.assertEqual(self.two.say(b"IDLE"), [b"+ idling", b"* 5 EXISTS", b"* 1 RECENT"])

    def test_only_done_ends_it(self) -> None:
        self.two.say(b"IDLE")
        self.two.send(b"x LOGOUT\r\n")
        self.assertEqual(self.two.heard(), [b"* BAD Expected DONE"])
        self.two.send(b"DONE {3+}\r\n")
        self.assertEqual(self.two.heard(), [b"* BAD Expected DONE"])
        self.two.send(b"DONE\r\nx NOOP\r\n")
        self.assertEqual(self.two.heard(), [b"t3 OK IDLE completed", b"x OK NOOP completed"])

    def test_keepalive_and_timeout(self) -> None:
        self.two.say(b"IDLE")
        heard = []
        for _ in range(29 * 6):
            self.clock.advance(10)
            heard += self.two.heard()
        self.assertEqual(heard, [b"* OK Still here"] * 14)
        self.clock.advance(61)
        self.assertEqual(self.two.heard(), [b"* BYE Autologout after a long silence"])

    def test_news_while_it_is_asking_are_asked_for_again(self) -> None:
        self.two.say(b"IDLE")
        self.store.hold()
        self.deliver_now(b"first")
        self.deliver_now(b"second")
        self.store.release()
        self.assertEqual(self.two.heard()[-2:], [b"* 6 EXISTS", b"* 2 RECENT"])

    def deliver_now(self, name: bytes) -> None:
        self.store.deliver(
            self.alias, Delivery(message(name), name.decode(), "2026-11-23T10:00:00Z")
        )
        self.two.settle()

    def test_without_a_folder(self) -> None:
        client = self.logged_in()
        self.assertEqual(client.say(b"IDLE"), [b"+ idling"])
        self.deliver(b"new")
        client.send(b"DONE\r\n")
        self.assertEqual(client.heard(), [b"t2 OK IDLE completed"])

    def test_revoked(self) -> None:
        self.two.say(b"IDLE")
        self.store.revoke(ADDRESS)
        for client in (self.one, self.two):
            self.assertEqual(
                client.heard(),
                [b"* BYE [UNAVAILABLE] Your access has changed, please log in again"],
            )
            self.assertTrue(client.closed)
        self.assertEqual(self.store.sessions, {})

    def test_revoked_behind_a_command_that_hangs(self) -> None:
        self.store.hold()
        self.two.send(b"a SEARCH ALL\r\n")
        self.store.revoke(ADDRESS)
        self.clock.advance(9)
        self.assertFalse(self.two.transport.aborted)
        self.clock.advance(2)
        self.assertTrue(self.two.transport.aborted)


class Model:
    """A client that believes what it is told: a list of messages by number."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.busy = b""
        self.uids: list[int | None] = []
        self.flags: dict[int, bytes] = {}
        self.learn(client.select())
        self.refresh()

    def learn(self, lines: list[bytes]) -> None:
        number = 0
        for line in lines:
            words = line.split(b" ", 3)
            if words[0] == b"*" and len(words) > 2 and words[2] == b"EXISTS":
                count = int(words[1])
                assert count >= len(self.uids), "EXISTS never takes away"
                self.uids += [None] * (count - len(self.uids))
            elif words[0] == b"*" and len(words) > 2 and words[2] == b"EXPUNGE":
                del self.uids[int(words[1]) - 1]
            elif words[0] == b"*" and len(words) > 2 and words[2] == b"FETCH":
                number = int(words[1])
                self.fetched(number, words[3])
            elif line.startswith(b" FLAGS ("):
                self.fetched(number, line)

    def fetched(self, number: int, items: bytes) -> None:
        known = self.uids[number - 1]
        if b"UID " in items:
            uid = int(items.split(b"UID ", 1)[1].split(b" ")[0].rstrip(b")"))
            assert known in (None, uid), "a number names one message until EXPUNGE"
            self.uids[number - 1] = known = uid
        if known is not None and b"FLAGS (" in items:
            flags = items.split(b"FLAGS (", 1)[1].split(b")")[0]
            self.flags[known] = flags.replace(b"\\Recent", b"").strip()

    def do(self, command: bytes) -> list[bytes]:
        self.begin(command)
        lines = self.listen()
        assert not self.busy
        return lines

    def begin(self, command: bytes) -> None:
        self.busy = command
        self.client.send(b"m " + command + b"\r\n")

    def listen(self) -> list[bytes]:
        lines = self.client.heard()
        if lines and lines[-1].startswith(b"m "):
            lines[-1] = lines[-1].removeprefix(b"m ")
            assert not lines[-1].startswith(b"BAD"), lines
            self.done(self.busy, lines)
            self.busy = b""
        else:
            self.learn(lines)
        return lines

    def done(self, command: bytes, lines: list[bytes]) -> None:
        if b".SILENT" in command and lines[-1].startswith(b"OK"):
            # what a FETCH among the answers says is newer than the client's own change
            uid = self.uids[int(command.split(b" ")[1]) - 1]
            if uid is not None:
                self.flags[uid] = b"\\Seen"
        self.learn(lines)
        return lines

    def refresh(self) -> None:
        self.do(b"NOOP")
        if self.uids:
            self.do(b"FETCH 1:* (UID FLAGS)")

    def command(self, action: bytes, draw: int) -> bytes:
        """The action on one of the messages that there are; NOOP if there is none."""
        if b"%b" not in action:
            return action
        return action % (b"%d" % (draw % len(self.uids) + 1)) if self.uids else b"NOOP"


ACTIONS = (
    b"STORE %b +FLAGS (\\Deleted)",
    b"STORE %b FLAGS.SILENT (\\Seen)",
    b"STORE %b -FLAGS (\\Deleted)",
    b"FETCH %b (UID BODY[HEADER])",
    b"FETCH %b (UID FLAGS)",
    b"COPY %b INBOX",
    b"MOVE %b Archive",
    b"MOVE %b INBOX",
    b"EXPUNGE",
    b"APPEND INBOX (\\Deleted) {3+}\r\na\r\n",
    b"NOOP",
    b"UID SEARCH ALL",
    b"SEARCH ALL",
    b"ENABLE CONDSTORE",
    b"UID FETCH 1:* (FLAGS)",
)

STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(ACTIONS),
        st.integers(0, 50),
    ),
    max_size=30,
)


class ModelTests(ImapTestCase):
    @settings(max_examples=60, deadline=None)
    @given(steps=STEPS)
    def test_every_client_ends_with_the_truth(self, steps: list[tuple[int, bytes, int]]) -> None:
        self.setUp()
        self.fill([b"a", b"b", b"c", b"d"])
        models = [Model(self.logged_in()) for _ in range(3)]
        for who, action, draw in steps:
            command = models[who].command(action, draw)
            models[who].do(command)
        self.check(models)

    @settings(max_examples=100, deadline=None)
    @given(steps=STEPS, order=st.lists(st.integers(0, 5), min_size=10, max_size=90))
    @example(
        # a message comes while one session asks, and goes before it can say so
        steps=[
            (0, b"APPEND INBOX (\\Deleted) {3+}\r\na\r\n", 0),
            (1, b"COPY %b INBOX", 0),
            (0, b"EXPUNGE", 0),
        ],
        order=[0, 0, 0, 5, 5, 5, 5, 5, 5],
    )
    def test_also_when_they_act_at_once(
        self, steps: list[tuple[int, bytes, int]], order: list[int]
    ) -> None:
        self.setUp()
        self.fill([b"a", b"b", b"c", b"d"])
        models = [Model(self.logged_in()) for _ in range(3)]
        self.store.hold()
        turns = iter(order)
        for who, action, draw in steps:
            model = models[who]
            if not model.busy:
                model.begin(model.command(action, draw))
            for which in islice(turns, 3):
                if which < 3:
                    self.store.release_one(which)
            for other in models:
                other.listen()
        self.store.release()
        for model in models:
            model.listen()
            self.assertFalse(model.busy)
        self.check(models)

    def check(self, models: list[Model]) -> None:
        inbox = self.store.mailbox(ADDRESS).named("INBOX")
        for model in models:
            model.do(b"NOOP")
            before = {uid: model.flags.get(uid) for uid in model.uids if uid in model.flags}
            model.refresh()
            self.assertEqual(model.uids, list(inbox.messages))
            for uid, flags in before.items():
                # told without being asked, or asked for: never old
                self.assertEqual(flags, model.flags[uid])
        for client in self.clients:
            client.lose()
        self.assertEqual(self.store.sessions, {})
