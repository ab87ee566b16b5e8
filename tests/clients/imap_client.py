"""A small strict IMAP client: it believes nothing, and keeps count of what it was told.

Beside the grammar it checks on every connection what must hold always: EXISTS never shrinks but
by EXPUNGE (rfc3501:1154), numbers are never above EXISTS, and no EXPUNGE comes while FETCH, STORE
or SEARCH is answered or nothing is in progress (rfc3501:4053).
"""

import re
import socket
import ssl
import time
from dataclasses import dataclass, field
from typing import Any

from tests.clients.imap_responses import TAGGED, read_status, read_untagged
from tests.clients.imap_values import Data, NotImap, Reader, Status

TIMEOUT = 20.0
LITERAL_END = re.compile(rb"\{([0-9]+)\}\r\n\Z")
WITHOUT_EXPUNGE = {"FETCH", "STORE", "SEARCH"}


@dataclass
class Literal:
    """A literal to be sent; ``plus`` without waiting (rfc7888)."""

    octets: bytes
    plus: bool = False


@dataclass
class Answer:
    """One command's tagged status and all that came before it."""

    tag: str
    status: Status
    untagged: list[Status | Data] = field(default_factory=list)
    continued: list[bytes] = field(default_factory=list)

    def of(self, kind: str) -> list[Any]:
        return [answer for answer in self.untagged if answer.kind == kind]

    def one(self, kind: str) -> Any:
        found = self.of(kind)
        if len(found) != 1:
            raise NotImap(f"one {kind} expected: {self.untagged}")
        return found[0]

    def values(self, kind: str) -> list[Any]:
        return [answer.value for answer in self.of(kind)]

    def numbers(self, kind: str) -> list[int]:
        return [answer.number for answer in self.of(kind)]

    def code(self, name: str) -> bytes:
        """The data of the code in an untagged or the tagged status."""
        for status in (*self.untagged, self.status):
            if isinstance(status, Status) and status.code == name:
                return status.data
        raise NotImap(f"[{name}] expected: {self.untagged} {self.status}")

    def has_code(self, name: str) -> bool:
        statuses = (*self.untagged, self.status)
        return any(isinstance(status, Status) and status.code == name for status in statuses)

    @property
    def messages(self) -> dict[int, dict[str, Any]]:
        """What FETCH responses said, by number, later ones added to earlier ones."""
        found: dict[int, dict[str, Any]] = {}
        for data in self.of("FETCH"):
            found.setdefault(data.number, {}).update(data.value)
        return found

    @property
    def found(self) -> list[int]:
        """The numbers of the one SEARCH response."""
        return self.one("SEARCH").value[0]


class Client:
    """One connection. ``exists`` is what it knows of the selected folder."""

    def __init__(
        self, port: int, context: ssl.SSLContext | None = None, source: str = "127.0.0.1"
    ) -> None:
        self.socket = socket.create_connection(
            ("127.0.0.1", port), timeout=TIMEOUT, source_address=(source, 0)
        )
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.file = self.socket.makefile("rb")
        self.exists: int | None = None
        self.command_name = ""
        self.count = 0
        self.greeting = self.read()

    def start_tls(self, context: ssl.SSLContext) -> None:
        self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.file = self.socket.makefile("rb")

    def close(self) -> None:
        self.file.close()
        self.socket.close()

    # Reading

    def response(self) -> bytes:
        """The octets of one response, literals in their places, without the last CRLF."""
        whole = b""
        while True:
            line = self.file.readline(1 << 20)
            if not line:
                raise EOFError("the server closed the connection")
            if not line.endswith(b"\r\n") or b"\r" in line[:-2] or b"\0" in line:
                raise NotImap(f"a line ended by CRLF expected: {line!r}")
            whole += line
            literal = LITERAL_END.search(line)
            if literal is None:
                return whole[:-2]
            whole += self.file.read(int(literal[1]))

    def read(self) -> Any:
        """The next response: Status, Data, ``+`` text as bytes, or tag and Status."""
        data = self.response()
        if data.startswith(b"* "):
            answer = read_untagged(data[2:])
            self._note(answer)
            return answer
        if data.startswith(b"+ "):
            return data[2:]
        tagged = TAGGED.match(data)
        if tagged is None:
            raise NotImap(f"no response: {data!r}")
        return tagged[1].decode(), read_status(Reader(data[len(tagged[1]) + 1 :]))

    def _note(self, answer: Status | Data) -> None:
        if answer.kind == "EXISTS":
            if self.exists is not None and answer.number < self.exists:
                raise NotImap(f"EXISTS shrank from {self.exists} to {answer.number}")
            self.exists = answer.number
        elif answer.kind == "EXPUNGE":
            if self.command_name in WITHOUT_EXPUNGE or not self.command_name:
                raise NotImap(f"EXPUNGE while {self.command_name or 'nothing'} is in progress")
            if self.exists is None or answer.number > self.exists:
                raise NotImap(f"EXPUNGE of {answer.number} of {self.exists}")
            self.exists -= 1
        elif answer.kind == "FETCH" and (self.exists is None or answer.number > self.exists):
            raise NotImap(f"FETCH of {answer.number} of {self.exists}")

    def until_tagged(self, tag: str, answer: Answer) -> Answer:
        while True:
            response = self.read()
            if isinstance(response, bytes):
                answer.continued.append(response)
            elif isinstance(response, tuple):
                if response[0] != tag:
                    raise NotImap(f"the tag {tag} expected, not {response}")
                answer.status = response[1]
                self.command_name = ""
                return answer
            else:
                answer.untagged.append(response)

    # Writing

    def tag(self) -> str:
        self.count += 1
        return f"a{self.count:03}"

    def send(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def begin(self, *words: str | bytes | Literal) -> tuple[str, Answer]:
        """Send a command, waiting for ``+`` before each synchronising literal."""
        tag = self.tag()
        answer = Answer(tag, Status("", None, b"", b""))
        self.command_name = (words[0] if isinstance(words[0], str) else "?").split(" ")[0].upper()
        if self.command_name in ("SELECT", "EXAMINE", "CLOSE", "UNSELECT"):
            self.exists = None
        out = f"{tag} ".encode()
        for word in words:
            if isinstance(word, Literal):
                sign = b"+" if word.plus else b""
                out += b"{%d%b}\r\n" % (len(word.octets), sign)
                if not word.plus:
                    self.send(out)
                    out = b""
                    if not self._continued(tag, answer):
                        return tag, answer
                out += word.octets
            else:
                out += word.encode() if isinstance(word, str) else word
        self.send(out + b"\r\n")
        return tag, answer

    def _continued(self, tag: str, answer: Answer) -> bool:
        while True:
            response = self.read()
            if isinstance(response, bytes):
                return True
            if isinstance(response, tuple):
                answer.status = response[1]
                return False
            answer.untagged.append(response)

    def command(self, *words: str | bytes | Literal) -> Answer:
        tag, answer = self.begin(*words)
        return answer if answer.status.kind else self.until_tagged(tag, answer)

    def _expect(self, kind: str, words: tuple[Any, ...]) -> Answer:
        answer = self.command(*words)
        if answer.status.kind != kind:
            raise AssertionError(f"{words}: {kind} expected, not {answer.status}")
        return answer

    def ok(self, *words: str | bytes | Literal) -> Answer:
        return self._expect("OK", words)

    def no(self, *words: str | bytes | Literal) -> Answer:
        return self._expect("NO", words)

    def bad(self, *words: str | bytes | Literal) -> Answer:
        return self._expect("BAD", words)

    # IDLE

    def idle(self) -> tuple[str, Answer]:
        tag, answer = self.begin("IDLE")
        while not isinstance(response := self.read(), bytes):
            answer.untagged.append(response)
        return tag, answer

    def hear(self, kind: str) -> Any:
        """Read until a response of the kind comes, and give it."""
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            response = self.read()
            if getattr(response, "kind", None) == kind:
                return response
        raise AssertionError(f"no {kind} came")

    def done(self, idle: tuple[str, Answer]) -> Answer:
        self.send(b"DONE\r\n")
        return self.until_tagged(*idle)

    # Short cuts

    def append(self, content: bytes, folder: str = "INBOX", before: str = "") -> int:
        """Append, and give the UID."""
        answer = self.ok(f"APPEND {folder} {before}", Literal(content, plus=True))
        return int(answer.code("APPENDUID").split()[1])

    def fetch(self, numbers: str, items: str) -> dict[int, dict[str, Any]]:
        return self.ok(f"FETCH {numbers} {items}").messages

    def search(self, keys: str) -> list[int]:
        return self.ok(f"SEARCH {keys}").found

    def flags(self, number: int) -> set[bytes]:
        return set(self.fetch(str(number), "(FLAGS)")[number]["FLAGS"]) - {b"\\Recent"}

    def status(self, folder: str, items: str) -> dict[str, int]:
        return self.ok(f"STATUS {folder} ({items})").one("STATUS").value[1]

    def listed(self, words: str = '"" *', kind: str = "LIST") -> list[str]:
        return [value[2].decode() for value in self.ok(f"{kind} {words}").values(kind)]
