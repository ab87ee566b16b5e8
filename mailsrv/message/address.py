"""Address lists of From, To and the like, as ENVELOPE wants them (rfc5322, rfc9051:6303).

A tokenizer of our own, linear in its input, that takes what is out there: obsolete routes and
dots, comments, groups, missing commas, brackets and quotes. The common forms go through one
regular expression; whatever that does not match goes to the tokenizer.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

MAX_ADDRESSES = 10_240
"""Addresses of one message, over all its fields."""


class Address(NamedTuple):
    """Octet text without quoting. A group begins with ``(None, None, name, None)`` and ends
    with four times None; the host is "" where an address has none."""

    name: str | None
    route: str | None
    mailbox: str | None
    host: str | None


GROUP_END = Address(None, None, None, None)

_COMMON = re.compile(
    r"[ \t]*+(?:"
    r'(?:"([^"\\]*+)"[ \t]*+|([^\s<>()\[\]:;@,"\\][^<>()\[\]:;@,"\\\r\n\t]*+))?'
    r'<([^\s<>()\[\]:;@,"\\]++)@([^\s<>()\[\]:;@,"\\]++)>'
    r'|([^\s<>()\[\]:;@,"\\]++)@([^\s<>()\[\]:;@,"\\]++)'
    r")[ \t]*+(?:,|\Z)",
    re.ASCII,
)
_TOKEN = re.compile(
    r'[ \t\r\n]++|"((?:[^"\\]|\\.)*+)"|(")|(\()|([,;:<>@])'
    r'|(=\?[^?\s]{1,75}\?[bBqQ]\?[^?\s]*+\?=|\[[^\]]*+\]?|[^ \t\r\n"(\[,;:<>@]++)',
    re.ASCII | re.DOTALL,
)
_COMMENT_MARK = re.compile(r"\\.|[()]", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def parse_addresses(value: str, limit: int = MAX_ADDRESSES) -> list[Address]:
    """The addresses of an unfolded field value, in order, at most ``limit``."""
    found: list[Address] = []
    position = 0
    while position < len(value) and len(found) < limit:
        match = _COMMON.match(value, position)
        if match is None:
            return (found + _Parser(value, position, limit - len(found)).run())[:limit]
        quoted, phrase, mailbox, host, bare_mailbox, bare_host = match.groups()
        if bare_mailbox is not None:
            found.append(Address(None, None, bare_mailbox, bare_host))
        else:
            name = phrase and " ".join(phrase.split())
            found.append(Address(quoted or name or None, None, mailbox, host))
        position = match.end()
    return found


class _Parser:
    """One pass over the tokens. ``words`` are those since the last separator, which may turn
    out to be a display name, a group name or a local part."""

    def __init__(self, value: str, position: int, limit: int) -> None:
        self.value = value
        self.position = position
        self.limit = limit
        self.found: list[Address] = []
        self.in_group = False
        self.reset()

    def reset(self) -> None:
        self.words: list[str] = []
        self.comment = ""
        self.name: str | None = None
        self.route: str | None = None
        self.mailbox: str | None = None
        self.angle = False
        self.done = False

    def run(self) -> list[Address]:
        value = self.value
        while len(self.found) < self.limit:
            match = _TOKEN.match(value, self.position)
            if match is None:
                break
            self.position = match.end()
            quoted, stray_quote, comment, special, atom = match.groups()
            if atom is not None:
                self.words.append(atom)
            elif quoted is not None:
                self.words.append(_ESCAPED.sub(r"\1", quoted) if "\\" in quoted else quoted)
            elif special is not None:
                self.special(special)
            elif comment is not None:
                self.skip_comment()
            elif stray_quote is not None:
                # No quote after this one: the rest is read as if it had none.
                value = self.value = value.replace('"', " ")
        self.finish()
        self.end_group()
        return self.found

    def special(self, char: str) -> None:
        if char == "@":
            self.at_sign()
        elif char == "<":
            self.open_angle()
        elif char == ">":
            self.close_angle()
        elif char == ":":
            self.colon()
        elif char == "," and self.angle and self.route is not None and self.mailbox is None:
            self.route += "".join(self.words) + ","
            self.words = []
        else:
            self.finish()
            if char == ";":
                self.end_group()

    def at_sign(self) -> None:
        if self.angle and self.mailbox is None and not self.words:
            self.route = (self.route or "") + "@"
        elif self.mailbox is None and not self.done:
            if not self.angle:
                name, self.words = _split_name(self.words)
                self.name = name or None
            self.mailbox = _join(self.words)
            self.words = []
        elif not self.done:
            self.second_at_sign()

    def second_at_sign(self) -> None:
        if len(self.words) < 2:
            self.words.append("@")
            return
        # "a@example.com b@example.com": a comma is missing here too.
        *host, mailbox = self.words
        self.words = host
        self.finish()
        self.mailbox = mailbox

    def open_angle(self) -> None:
        if self.done:
            # A comma is missing: what followed the last address names this one.
            words = self.words
            self.finish()
            self.words = words
        if self.mailbox is not None and not self.angle:
            # "joe@example.com <joe@example.com>": an address where a name should be.
            self.words = [f"{self.mailbox}@{''.join(self.words)}"]
            self.words[:0] = [self.name] if self.name else []
            self.mailbox = None
        self.name = " ".join(self.words) or None
        self.words = []
        self.angle = True

    def close_angle(self) -> None:
        if self.angle and not self.done:
            self.take()
            self.done = True

    def colon(self) -> None:
        if self.angle:
            if self.route is not None and self.mailbox is None:
                self.route += "".join(self.words)
                self.words = []
            elif not self.done:
                self.words.append(":")
        elif self.in_group or self.mailbox is not None:
            self.words.append(":")
        else:
            self.found.append(Address(None, None, " ".join(self.words), None))
            self.reset()
            self.in_group = True

    def take(self) -> None:
        """Note the address that ends here."""
        if self.mailbox is None:
            mailbox, host = _join(self.words), ""
        else:
            mailbox, host = self.mailbox, "".join(self.words)
        name = self.name or self.comment or None
        if mailbox or host or self.angle:
            self.found.append(Address(name, self.route, mailbox, host))
        self.words = []

    def finish(self) -> None:
        if not self.done:
            self.take()
        elif self.comment and self.found[-1].name is None:
            self.found[-1] = self.found[-1]._replace(name=self.comment)
        self.reset()

    def end_group(self) -> None:
        if self.in_group:
            self.found.append(GROUP_END)
            self.in_group = False

    def skip_comment(self) -> None:
        start, depth = self.position, 1
        for mark in _COMMENT_MARK.finditer(self.value, start):
            depth += {"(": 1, ")": -1}.get(mark[0], 0)
            if not depth:
                self.position = mark.end()
                self.note_comment(self.value[start : mark.start()])
                return
        self.position = len(self.value)
        self.note_comment(self.value[start:])

    def note_comment(self, text: str) -> None:
        text = " ".join(_ESCAPED.sub(r"\1", text).split())
        self.comment = text or self.comment


def _join(words: Sequence[str]) -> str:
    """Words of a local part: blanks around dots are obsolete syntax and go."""
    out = ""
    for word in words:
        glue = "" if not out or out.endswith(".") or word.startswith(".") else " "
        out += glue + word
    return out


def _split_name(words: list[str]) -> tuple[str, list[str]]:
    """Tell a display name without brackets from the local part that follows it."""
    start = len(words) - 1
    while start > 0 and (words[start].startswith(".") or words[start - 1].endswith(".")):
        start -= 1
    start = max(start, 0)
    return " ".join(words[:start]), words[start:]
