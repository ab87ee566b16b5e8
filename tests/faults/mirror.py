"""A client that writes down what it was told, to compare after a power cut."""

import copy
import imaplib
import random
import re

from tests.faults.common import marked

FOLDERS = ("One", "Two")
_STATUS = re.compile(rb"(UIDNEXT|UIDVALIDITY|HIGHESTMODSEQ) (\d+)")

State = dict[str, dict[int, str]]
"""Folder to UID to mark."""


def told(client: imaplib.IMAP4, folder: str) -> dict[str, int]:
    """UIDNEXT, UIDVALIDITY and HIGHESTMODSEQ of a folder."""
    _, (answer, *_) = client.status(folder, "(UIDNEXT UIDVALIDITY HIGHESTMODSEQ)")
    return {name.decode(): int(value) for name, value in _STATUS.findall(answer)}


class Mirror:
    """Does one thing after another to two folders.

    ``state`` is as of the last answer; ``possible`` also has the command that is not answered
    yet done, with made-up UIDs for its new messages. Neither may a UID in ``names`` ever stand
    for anything else, nor may ``status`` go back.
    """

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._number = 0
        self.state: State = {folder: {} for folder in FOLDERS}
        self.possible: State = {}
        self.names: dict[tuple[str, int], str] = {}
        self.status: dict[str, dict[str, int]] = {folder: {} for folder in FOLDERS}
        self.answers = 0

    def work(self, client: imaplib.IMAP4) -> None:
        """Go on until the connection breaks."""
        while True:
            self.possible = {}
            folder = self._dice.choice(FOLDERS)
            uids = sorted(self.state[folder])
            chosen = self._dice.sample(uids, min(len(uids), self._dice.randint(1, 4)))
            client.select(folder)
            if len(uids) < 4 or self._dice.random() < 0.3:
                self.append(client, folder)
            else:
                action = self._dice.choice((self.copy, self.move, self.remove, self.flag))
                action(client, folder, chosen)
            self.answers += 1
            name = self._dice.choice(FOLDERS)
            self.status[name] = told(client, name)

    def expect(self, folder: str, gone: list[int], other: str, new: list[str]) -> None:
        """What is possible from here on."""
        possible = copy.deepcopy(self.state)
        for uid in gone:
            del possible[folder][uid]
        possible[other].update({-number: mark for number, mark in enumerate(new, 1)})
        self.possible = possible

    def put(self, folder: str, uid: int, mark: str) -> None:
        """The server said so."""
        self.state[folder][uid] = self.names.setdefault((folder, uid), mark)
        assert self.names[folder, uid] == mark, (folder, uid)

    def append(self, client: imaplib.IMAP4, folder: str) -> None:
        self._number += 1
        mark = f"mirror-{self._number}"
        self.expect(folder, [], folder, [mark])
        _, (answer, *_) = client.append(folder, "", None, marked(mark))
        self.put(folder, int(answer.split(b"]")[0].split()[-1]), mark)

    def copy(self, client: imaplib.IMAP4, folder: str, uids: list[int]) -> None:
        self._transfer(client, "COPY", folder, uids)

    def move(self, client: imaplib.IMAP4, folder: str, uids: list[int]) -> None:
        self._transfer(client, "MOVE", folder, uids)
        for uid in uids:
            del self.state[folder][uid]

    def _transfer(self, client: imaplib.IMAP4, command: str, folder: str, uids: list[int]) -> None:
        other = FOLDERS[1 - FOLDERS.index(folder)]
        marks = [self.state[folder][uid] for uid in sorted(uids)]
        self.expect(folder, uids if command == "MOVE" else [], other, marks)
        client.untagged_responses.clear()
        client.uid(command, ",".join(map(str, uids)), other)
        _, sources, targets = client.response("COPYUID")[1][0].split()
        for source, target in zip(_uids(sources), _uids(targets), strict=True):
            self.put(other, target, self.state[folder][source])

    def remove(self, client: imaplib.IMAP4, folder: str, uids: list[int]) -> None:
        chosen = ",".join(map(str, uids))
        client.uid("STORE", chosen, "+FLAGS", "(\\Deleted)")
        self.expect(folder, uids, folder, [])
        client.uid("EXPUNGE", chosen)
        for uid in uids:
            del self.state[folder][uid]

    def flag(self, client: imaplib.IMAP4, folder: str, uids: list[int]) -> None:
        client.uid("STORE", ",".join(map(str, uids)), "FLAGS", f"(word-{self._dice.random()})")


def _uids(text: bytes) -> list[int]:
    found: list[int] = []
    for part in text.split(b","):
        first, _, last = part.partition(b":")
        found.extend(range(int(first), int(last or first) + 1))
    return found
