"""Several sessions doing anything in any order: what each was told always adds up.

Every session keeps a picture from the responses alone, as rfc3501 7.4.1 lets it: message numbers,
UIDs, flags. No response may contradict it, and in the end all pictures are that of the mailbox.
"""

import random
from typing import Any

from tests.clients.imap_case import ImapTestCase, mail
from tests.clients.imap_client import Client

FLAGS = ("\\Seen", "\\Flagged", "\\Answered", "\\Deleted", "$Junk", "other")
KINDS = (
    *("APPEND", "APPEND", "STORE", "STORE", "FETCH", "NOOP", "EXPUNGE", "MOVE"),
    *("UID FETCH {uid}:* (FLAGS)", "UID SEARCH UNSEEN", "UID COPY {uid} INBOX"),
)
STEPS = 150


class Picture:
    """What one client believes of INBOX."""

    def __init__(self, client: Client, *, condstore: bool) -> None:
        self.client = client
        self.uids: list[int | None] = []
        self.flags: dict[int, frozenset[bytes]] = {}
        self.modseqs: dict[int, int] = {}
        self.say("SELECT INBOX (CONDSTORE)" if condstore else "SELECT INBOX")
        self.say("FETCH 1:* (UID FLAGS)" if self.uids else "NOOP")

    def say(self, *words: Any) -> None:
        if str(words[0]).startswith("SELECT"):
            self.uids = []
        answer = self.client.command(*words)
        assert answer.status.kind != "BAD", (words, answer.status)
        for data in answer.untagged:
            self.take(data)

    def take(self, data: Any) -> None:
        if data.kind == "EXISTS":
            self.uids += [None] * (data.number - len(self.uids))
        elif data.kind == "EXPUNGE":
            uid = self.uids.pop(data.number - 1)
            self.flags.pop(uid or 0, None)
        elif data.kind == "FETCH":
            self.learn(data.number, data.value)

    def learn(self, number: int, items: dict[str, Any]) -> None:
        known = self.uids[number - 1]
        uid = items.get("UID", known)
        assert known in (None, uid), f"{number} was UID {known}, not {uid}"
        assert uid is None or self.uids.count(uid) == (known is not None)
        self.uids[number - 1] = uid
        if uid is not None and "FLAGS" in items:
            self.flags[uid] = frozenset(items["FLAGS"]) - {b"\\Recent"}
        if uid is not None and "MODSEQ" in items:
            assert items["MODSEQ"] >= self.modseqs.get(uid, 0), "a modseq went back"
            self.modseqs[uid] = items["MODSEQ"]

    def settle(self) -> tuple[list[int | None], dict[int, frozenset[bytes]]]:
        """The picture once everything was told, without asking for what it should know."""
        self.say("NOOP")
        missing = [n for n, uid in enumerate(self.uids, 1) if uid is None or uid not in self.flags]
        if missing:
            self.say(f"FETCH {','.join(map(str, missing))} (UID FLAGS)")
        return self.uids, self.flags


class RandomTests(ImapTestCase):
    messages = 5

    def numbers(self, chance: random.Random, picture: Picture) -> str:
        count = len(picture.uids)
        chosen = sorted({chance.randint(1, count) for _ in range(chance.randint(1, 3))})
        return ",".join(map(str, chosen))

    def step(self, chance: random.Random, picture: Picture) -> None:
        kind = chance.choice(KINDS)
        if kind == "APPEND":
            picture.say(f"APPEND INBOX (\\Seen) {{{len(mail())}+}}\r\n", mail())
        elif kind in ("NOOP", "EXPUNGE") or not picture.uids:
            picture.say(kind if kind == "EXPUNGE" else "NOOP")
        elif kind == "STORE":
            operation = f"{chance.choice(('+', '-', ''))}FLAGS ({chance.choice(FLAGS)})"
            picture.say(f"STORE {self.numbers(chance, picture)} {operation}")
        elif kind == "FETCH":
            picture.say(f"FETCH {self.numbers(chance, picture)} (UID FLAGS RFC822.SIZE)")
        elif kind == "MOVE":
            picture.say(f"MOVE {self.numbers(chance, picture)} Archive")
        else:
            picture.say(kind.format(uid=chance.choice(self.uids)))

    def play(self, seed: int) -> None:
        chance = random.Random(seed)
        pictures = [Picture(self.login(), condstore=n == 0) for n in range(3)]
        for _ in range(STEPS):
            self.step(chance, chance.choice(pictures))
        truth = Picture(self.login(), condstore=False).settle()
        for picture in pictures:
            self.assertEqual(picture.settle(), truth, f"seed {seed}")

    def test_three_sessions_agree_with_each_other(self) -> None:
        """rfc3501:4023"""
        for seed in (1, 2, 3):
            self.play(seed)


class DisconnectedTests(ImapTestCase):
    messages = 6

    def test_changedsince_after_coming_back_misses_nothing(self) -> None:
        """rfc7162:2276"""
        chance = random.Random(4)
        cache: dict[int, frozenset[bytes]] = {}
        highest = 1
        worker = self.login("INBOX")
        for _ in range(25):
            client = self.login()
            highest_now = int(client.ok("SELECT INBOX (CONDSTORE)").code("HIGHESTMODSEQ"))
            answer = client.ok(f"UID FETCH 1:* (FLAGS) (CHANGEDSINCE {highest})")
            for items in answer.messages.values():
                cache[items["UID"]] = frozenset(items["FLAGS"]) - {b"\\Recent"}
            alive = set(client.ok("UID SEARCH ALL").found)
            cache = {uid: flags for uid, flags in cache.items() if uid in alive}
            real = client.ok("UID FETCH 1:* (FLAGS)").messages.values()
            truth = {each["UID"]: frozenset(each["FLAGS"]) - {b"\\Recent"} for each in real}
            self.assertEqual(cache, truth)
            highest = highest_now
            client.close()
            worker.append(mail())
            worker.ok("NOOP")
            for _ in range(3):
                number = chance.randint(1, worker.exists)
                worker.ok(f"STORE {number} {chance.choice('+-')}FLAGS ({chance.choice(FLAGS)})")
            if chance.random() < 0.3:
                worker.ok("EXPUNGE")
