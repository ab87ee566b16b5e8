"""A client of other IMAP servers, for bringing mail over: what is needed of ``imaplib``, bounded.

A server may be anything. What it sends is parsed strictly, and the connection ends where a literal,
a line, or all that comes of one command is larger than it may be, or takes too long. TLS from the
first octet, with the certificate verified (rfc8314).
"""

import imaplib
import re
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from mailsrv import mutf7
from mailsrv.errors import AuthenticationFailed, InvalidInput, Unavailable
from mailsrv.message.dates import parse_date

TIMEOUT = 120.0
"""Seconds without an octet from the server after which it is given up."""

COMMAND_SECONDS = 3600.0
"""Seconds that one command may take, however steadily its answer drips."""

_GOODBYE_SECONDS = 5.0
_NO_UID = 2**32
_SLACK = 64 * 1024
_LONGEST_LINE = 256 * 1024
_BESIDE_BODIES = 64 * 1024 * 1024
_RECEIVED_AT_ONCE = 64 * 1024
# a string that does not end goes on to the end: to look for others in there would take ever longer
_TOKEN = re.compile(rb'[ \t]*(?:"((?:[^"\\]|\\.)*+)"?|([()])|([^ \t()"]+))')
_LITERAL = re.compile(rb"~?\{[0-9]+\+?\}\Z")
_TOO_MUCH = "the server sends more than was asked for"
_INTERNAL_DATE = re.compile(r" ?([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4}) ([0-9:]{8} [+-][0-9]{4})")


class Listed(NamedTuple):
    """A folder as the server lists it. ``raw`` is its name on the wire."""

    raw: bytes
    levels: tuple[str, ...]
    attributes: frozenset[str]
    subscribed: bool


class Envelope(NamedTuple):
    """What is known of a message before its octets are fetched."""

    uid: int
    flags: tuple[str, ...]
    date: str | None
    size: int


class _Literal(bytes):
    """Octets that came as a literal."""


class _Bounded(imaplib.IMAP4_SSL):
    """Reads no literal of more than ``longest`` octets, and not too much of one command."""

    def __init__(
        self, host: str, port: int, context: ssl.SSLContext, timeout: float, longest: int
    ) -> None:
        self._longest = longest
        self._received = bytearray()
        self.begin(timeout)
        super().__init__(host, port, ssl_context=context, timeout=timeout)

    def begin(self, seconds: float) -> None:
        """What comes now is for another command."""
        self._left = self._longest + _BESIDE_BODIES
        self._end = time.monotonic() + seconds

    def read(self, size: int) -> bytes:
        if size > self._longest:
            raise self.abort(_TOO_MUCH)
        while len(self._received) < size:
            self._receive()
        return self._taken(size)

    def readline(self) -> bytes:
        while not (size := self._received.find(b"\n", 0, _LONGEST_LINE) + 1):
            if len(self._received) >= _LONGEST_LINE:
                raise self.abort(_TOO_MUCH)
            self._receive()
        return self._taken(size)

    def _receive(self) -> None:
        octets = self.sock.recv(_RECEIVED_AT_ONCE)
        self._received += octets
        self._left -= len(octets)
        if not octets:
            raise self.abort("the server hung up")
        if self._left < 0:
            raise self.abort(_TOO_MUCH)
        if time.monotonic() > self._end:
            raise self.abort("the server takes too long")

    def _taken(self, size: int) -> bytes:
        octets = bytes(self._received[:size])
        del self._received[:size]
        return octets

    def command(self, name: str, *words: str) -> Any:
        """A command that imaplib has no method for; its untagged answers."""
        kind, data = self._simple_command(name, *words)
        if kind != "OK":
            raise self.error(f"{name} was refused")
        return self._untagged_response(kind, data, name)[1]


class ImapClient:
    """One connection, logged in. Unavailable for all that fails on the way."""

    def __init__(
        self, host: str, port: int, context: ssl.SSLContext, largest: int, timeout: float = TIMEOUT
    ) -> None:
        """``largest`` are the octets of the largest message that will be asked for."""
        self._host = host
        self._is_quiet = False
        with self._translated():
            # sizes that servers tell are not exact, and several small messages come at once
            self._imap = _Bounded(host, port, context, timeout, 2 * largest + _SLACK)

    def login(self, user: str, password: str) -> None:
        """AUTHENTICATE PLAIN where the server has it, or LOGIN. AuthenticationFailed."""
        try:
            with self._command():
                try:
                    if "AUTH=PLAIN" in self._imap.capabilities:
                        secret = b"\0".join([b"", user.encode(), password.encode()])
                        self._imap.authenticate("PLAIN", lambda _: secret)
                    elif (user + password).isascii():
                        self._imap.login(user, password)
                    else:
                        raise InvalidInput(f"{self._host} knows passwords in ASCII only")
                except imaplib.IMAP4.abort:
                    raise
                except imaplib.IMAP4.error:
                    raise _Refused from None
                self._imap.command("CAPABILITY")
        except _Refused:
            raise AuthenticationFailed(f"{self._host} refused this user or password") from None

    def folders(self) -> list[Listed]:
        """All folders of the user's own, and subscribed names that are none, as \\NonExistent."""
        with self._command():
            capabilities = self._capabilities()
            told = {"LIST-EXTENDED", "SPECIAL-USE"} <= capabilities
            words = ("RETURN", "(SPECIAL-USE)") if told else ()
            listed = self._list(self._imap.command("LIST", '""', '"*"', *words))
            subscribed = self._list(self._imap.command("LSUB", '""', '"*"'))
            mine, others = self._namespaces() if "NAMESPACE" in capabilities else (b"", [])
        known = {one.raw for one in listed}
        names = {one.raw for one in subscribed if "\\noselect" not in one.attributes}
        gone = [
            _Line(one.raw, one.delimiter, frozenset(["\\nonexistent"]))
            for one in subscribed
            if one.raw in names - known
        ]
        return [
            _named(one, mine, names)
            for one in [*listed, *gone]
            if not any(one.raw.startswith(prefix) for prefix in others)
        ]

    def examine(self, raw: bytes) -> tuple[int, int]:
        """Select a folder to be read only: its UIDVALIDITY and UIDNEXT. InvalidInput: refused."""
        with self._command():
            kind, _ = self._imap.select(_quoted(raw), readonly=True)
            if kind != "OK":
                raise InvalidInput(f"{self._host} does not let this folder be read")
            uidvalidity, uidnext = (self._number(name) for name in ("UIDVALIDITY", "UIDNEXT"))
            if not uidnext:
                status = self._imap.command("STATUS", _quoted(raw), "(UIDNEXT)")
                found = re.search(rb"UIDNEXT ([0-9]{1,10})", b" ".join(_flat(status)))
                uidnext = int(found[1]) if found else _NO_UID
        return uidvalidity, min(uidnext, _NO_UID)

    def count(self, raw: bytes) -> int | None:
        """How many messages a folder has; None where that is not told."""
        with self._command():
            try:
                status = self._imap.command("STATUS", _quoted(raw), "(MESSAGES)")
            except imaplib.IMAP4.abort:
                raise
            except (imaplib.IMAP4.error, InvalidInput):
                return None
        found = re.search(rb"MESSAGES ([0-9]{1,10})", b" ".join(_flat(status)))
        return int(found[1]) if found else None

    def envelopes(self, first: int, last: int) -> list[Envelope]:
        """What is known of the messages with UIDs from ``first`` to ``last``, in order."""
        found = []
        for one in self._fetch(f"{first}:{last}", "(UID FLAGS INTERNALDATE RFC822.SIZE)"):
            uid, size = _integer(one.get("UID")), _integer(one.get("RFC822.SIZE"))
            if uid is not None and size is not None and first <= uid <= last:
                flags = tuple(_text(flag) for flag in one.get("FLAGS", ()))
                found.append(Envelope(uid, flags, _date(one.get("INTERNALDATE")), size))
        return sorted({one.uid: one for one in found}.values())

    def bodies(self, uids: Sequence[int]) -> dict[int, bytes]:
        """The octets of messages; those that have gone meanwhile are not there."""
        found = {}
        for one in self._fetch(",".join(map(str, uids)), "(UID BODY.PEEK[])"):
            uid, body = _integer(one.get("UID")), one.get("BODY[]")
            if uid is not None and isinstance(body, bytes):
                found[uid] = bytes(body)
        return found

    def close(self) -> None:
        """Log out, if the server still listens; not in the middle of an answer."""
        with suppress(imaplib.IMAP4.error, OSError, ValueError):
            if self._is_quiet:
                self._imap.sock.settimeout(_GOODBYE_SECONDS)
                self._imap.begin(_GOODBYE_SECONDS)
                self._imap.logout()
            else:
                self._imap.shutdown()

    def _fetch(self, uids: str, items: str) -> Iterator[dict[str, Any]]:
        with self._command():
            kind, data = self._imap.uid("FETCH", uids, items)
            if kind != "OK":
                raise Unavailable(f"{self._host} refused to give messages")
        for tokens in _responses(data):
            number_and_items = _parsed(tokens)
            items_ = number_and_items[1] if len(number_and_items) > 1 else None
            if isinstance(items_, list):
                yield {
                    _text(name).upper(): value
                    for name, value in zip(items_[::2], items_[1::2], strict=False)
                    if isinstance(name, bytes)
                }

    def _list(self, data: Any) -> list["_Line"]:
        found = []
        for tokens in _responses(data):
            parsed = _parsed(tokens)
            if len(parsed) >= 3 and isinstance(parsed[0], list) and isinstance(parsed[2], bytes):
                attributes = frozenset(_text(one).lower() for one in parsed[0])
                delimiter = None if parsed[1] in (b"NIL", None) else bytes(parsed[1])
                found.append(_Line(bytes(parsed[2]), delimiter, attributes))
        return found

    def _namespaces(self) -> tuple[bytes, list[bytes]]:
        """Prefix of the user's own folders, and those of others' and shared ones."""
        for tokens in _responses(self._imap.command("NAMESPACE")):
            parsed = _parsed(tokens)
            prefixes = [
                [bytes(one[0]) for one in group if isinstance(one, list) and one]
                if isinstance(group, list)
                else []
                for group in parsed[:3]
            ]
            mine = prefixes[0][0] if prefixes and prefixes[0] else b""
            others = [prefix for group in prefixes[1:] for prefix in group if prefix]
            return mine, others
        return b"", []

    def _capabilities(self) -> set[str]:
        data = self._imap.command("CAPABILITY")
        return set(b" ".join(_flat(data)).decode("ascii", "replace").upper().split())

    def _number(self, name: str) -> int:
        _, data = self._imap.response(name)
        return _integer(data[0]) or 0 if data and data[0] else 0

    @contextmanager
    def _command(self) -> Iterator[None]:
        """Say something, and wait for what comes of it."""
        with self._translated():
            self._is_quiet = False
            self._imap.untagged_responses.clear()  # what nobody asked for would pile up
            self._imap.begin(COMMAND_SECONDS)
            yield
            self._is_quiet = True

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except ssl.SSLCertVerificationError as error:
            reason = error.verify_message
            raise Unavailable(
                f"{self._host}: its certificate is not to be trusted: {reason}"
            ) from None
        except imaplib.IMAP4.abort:
            raise Unavailable(f"{self._host} ended the connection") from None
        except TimeoutError:
            raise Unavailable(f"{self._host} does not answer") from None
        except (imaplib.IMAP4.error, ValueError):
            raise Unavailable(f"{self._host} answers as no IMAP server does") from None
        except OSError as error:
            raise Unavailable(
                f"{self._host} cannot be reached: {error.strerror or error}"
            ) from None


class _Refused(Exception):
    """User or password are wrong."""


class _Line(NamedTuple):
    raw: bytes
    delimiter: bytes | None
    attributes: frozenset[str]


def _named(line: _Line, prefix: bytes, subscribed: set[bytes]) -> Listed:
    raw = line.raw
    inside = raw[len(prefix) :] if prefix and raw.startswith(prefix) and raw != prefix else raw
    parts = inside.split(line.delimiter) if line.delimiter else [inside]
    levels = tuple(_decoded(part).replace("/", "_") for part in parts if part)
    return Listed(raw, levels, line.attributes, raw in subscribed)


def _decoded(raw: bytes) -> str:
    try:
        return mutf7.decode(raw)
    except ValueError:
        return raw.decode("utf-8", "replace")


def _quoted(raw: bytes) -> str:
    if not raw.isascii() or any(octet in raw for octet in b"\r\n\0"):
        raise InvalidInput("the name of a folder cannot be said to its server")
    text = raw.decode("ascii").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _responses(data: Any) -> Iterator[list[bytes]]:
    """Each response as pieces of text, and literals between them."""
    pieces: list[bytes] = []
    for one in data:
        if isinstance(one, tuple):
            pieces += [_LITERAL.sub(b"", one[0]), _Literal(one[1])]
        elif one is not None:
            yield [*pieces, one]
            pieces = []
    if pieces:
        yield pieces


def _parsed(pieces: list[bytes]) -> list[Any]:
    """Nested lists of octets; what is not well formed ends early."""
    stack: list[list[Any]] = [[]]
    for piece in pieces:
        if isinstance(piece, _Literal):
            stack[-1].append(bytes(piece))
            continue
        for quoted, parenthesis, atom in _TOKEN.findall(piece):
            if parenthesis == b"(":
                stack.append([])
            elif parenthesis == b")":
                if len(stack) > 1:
                    inner = stack.pop()
                    stack[-1].append(inner)
            elif atom:
                stack[-1].append(atom)
            else:
                stack[-1].append(re.sub(rb"\\(.)", rb"\1", quoted))
    while len(stack) > 1:
        inner = stack.pop()
        stack[-1].append(inner)
    return stack[0]


def _flat(data: Any) -> list[bytes]:
    return [one if isinstance(one, bytes) else b" ".join(one) for one in data if one is not None]


def _integer(value: Any) -> int | None:
    return int(value) if isinstance(value, bytes) and value.isdigit() and len(value) < 20 else None


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def _date(value: Any) -> str | None:
    found = _INTERNAL_DATE.fullmatch(_text(value))
    return parse_date(" ".join(found.groups()))[0] if found else None
