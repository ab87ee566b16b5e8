"""Commands as frozen values: tag, name and typed arguments (rfc9051:6460).

``parse`` reads a whole command. A session that must know the name first uses ``parse_head``
and then the entry of ``PARSERS``; a further extension is one more entry.
"""

import re
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from mailsrv.imap import fetch_grammar, list_grammar, search_grammar
from mailsrv.imap.arguments import MAX_NUMBER64, Arguments
from mailsrv.imap.errors import BadSyntax
from mailsrv.imap.sequence import SequenceSet
from mailsrv.imap.wire import tag_of
from mailsrv.store.values import Flags

MAX_CAPABILITIES = 50
MAX_ID_PAIRS = 30
"""rfc2971:189: fields of at most 30 octets, values of at most 1,024."""
MAX_ID_FIELD = 30
MAX_ID_VALUE = 1024

WITH_UID = frozenset({"COPY", "EXPUNGE", "FETCH", "MOVE", "SEARCH", "STORE"})
"""Commands that may follow UID (rfc9051:7123)."""

_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9.-]{0,31}(?= |\Z)")


class Head(msgspec.Struct, frozen=True):
    """A command's tag and upper-case name, and the cursor at its arguments."""

    tag: str
    name: str
    uid: bool
    arguments: Arguments


class Request(msgspec.Struct, frozen=True):
    """A whole command; ``arguments`` is the value that the name's parser gives, or None."""

    tag: str
    name: str
    uid: bool
    arguments: Any


class Login(msgspec.Struct, frozen=True):
    user: str
    password: str

    def __repr__(self) -> str:
        """Nothing of the values."""
        return "Login()"


class Authenticate(msgspec.Struct, frozen=True):
    """``mechanism`` in upper case; ``initial`` is the decoded initial response (rfc4959)."""

    mechanism: str
    initial: bytes | None = None

    def __repr__(self) -> str:
        """Nothing of the response."""
        return f"Authenticate({self.mechanism!r})"


class Mailbox(msgspec.Struct, frozen=True):
    """Arguments of DELETE, SUBSCRIBE, UNSUBSCRIBE and GETQUOTAROOT."""

    name: str


class Create(msgspec.Struct, frozen=True):
    """``special_use`` are attributes such as ``\\Sent`` (rfc6154:468)."""

    mailbox: str
    special_use: tuple[str, ...] = ()


class Rename(msgspec.Struct, frozen=True):
    old: str
    new: str


class Select(msgspec.Struct, frozen=True):
    """Arguments of SELECT and EXAMINE."""

    mailbox: str
    condstore: bool = False


class Append(msgspec.Struct, frozen=True):
    """``internal_date`` is ISO 8601 UTC text."""

    mailbox: str
    flags: Flags
    internal_date: str | None
    content: bytes

    def __repr__(self) -> str:
        """Size only of the message."""
        return f"Append({self.mailbox!r}, {len(self.content)} octets)"


class Store(msgspec.Struct, frozen=True):
    numbers: SequenceSet
    operation: Literal["add", "remove", "replace"]
    flags: Flags
    silent: bool = False
    unchanged_since: int | None = None


class Copy(msgspec.Struct, frozen=True):
    """Arguments of COPY and MOVE."""

    numbers: SequenceSet
    mailbox: str


class Expunge(msgspec.Struct, frozen=True):
    """``numbers`` is there with UID EXPUNGE (rfc4315:75) and only with it."""

    numbers: SequenceSet | None = None


class Identity(msgspec.Struct, frozen=True):
    """What a client says of itself; never trust it."""

    fields: tuple[tuple[str, str | None], ...]


class Enable(msgspec.Struct, frozen=True):
    capabilities: tuple[str, ...]


class GetQuota(msgspec.Struct, frozen=True):
    root: str


def parse_head(parts: tuple[bytes, ...], *, utf8: bool = False) -> Head:
    """Read tag and name. BadSyntax has the tag when there was one.

    ``utf8``: the client enabled UTF8=ACCEPT or IMAP4rev2.
    """
    tag = tag_of(parts[0])
    arguments = Arguments(parts, utf8=utf8)
    try:
        if not tag:
            arguments.fail("a tag")
        arguments.skip(tag.encode("ascii"))
        arguments.space()
        name = arguments.match(_NAME, "a command")[0].decode("ascii").upper()
        uid = name == "UID"
        if uid:
            arguments.space()
            name = arguments.match(_NAME, "a command")[0].decode("ascii").upper()
            if name not in WITH_UID:
                arguments.fail("a command that takes UIDs before this place")
    except BadSyntax as error:
        error.tag = tag
        raise
    return Head(tag, name, uid, arguments)


def parse(parts: tuple[bytes, ...], *, utf8: bool = False) -> Request:
    """Read a whole command. BadSyntax, with the tag, for anything else."""
    head = parse_head(parts, utf8=utf8)
    try:
        return Request(head.tag, head.name, head.uid, parse_arguments(head))
    except BadSyntax as error:
        error.tag = head.tag
        raise


def parse_arguments(head: Head) -> Any:
    """Read what follows the name, None for a command without arguments."""
    arguments = head.arguments
    if head.name in WITHOUT_ARGUMENTS or (head.name == "EXPUNGE" and not head.uid):
        arguments.end()
        return Expunge() if head.name == "EXPUNGE" else None
    parser = PARSERS.get(head.name)
    if parser is None:
        arguments.fail("a command of this server before this place")
    arguments.space()
    return parser(arguments)


def _login(arguments: Arguments) -> Login:
    user = arguments.text("a user name")
    arguments.space()
    password = arguments.text("a password")
    arguments.end()
    return Login(user, password)


def _authenticate(arguments: Arguments) -> Authenticate:
    mechanism = arguments.atom().upper()
    initial = None
    if not arguments.at_end():
        arguments.space()
        initial = arguments.base64()
    arguments.end()
    return Authenticate(mechanism, initial)


def _mailbox(arguments: Arguments) -> Mailbox:
    name = arguments.mailbox()
    arguments.end()
    return Mailbox(name)


def _create(arguments: Arguments) -> Create:
    mailbox = arguments.mailbox()
    uses: tuple[str, ...] = ()
    if not arguments.at_end():
        arguments.space()
        uses = arguments.group(lambda: _special_uses(arguments), 1, least=1)[0]
    arguments.end()
    return Create(mailbox, uses)


_USE = re.compile(rb"\\[A-Za-z]{1,30}")


def _special_uses(arguments: Arguments) -> tuple[str, ...]:
    if not arguments.skip_word("USE "):
        arguments.fail("USE")

    def use() -> str:
        return arguments.match(_USE, "a special use")[0].decode("ascii")

    return tuple(arguments.group(use, 10))


def _rename(arguments: Arguments) -> Rename:
    old = arguments.mailbox()
    arguments.space()
    new = arguments.mailbox()
    arguments.end()
    return Rename(old, new)


def _select(arguments: Arguments) -> Select:
    mailbox = arguments.mailbox()
    condstore = False
    if not arguments.at_end():
        arguments.space()

        def parameter() -> str:
            name = arguments.keyword("a SELECT parameter")
            if name != "CONDSTORE":
                arguments.fail("CONDSTORE before this place")
            return name

        condstore = bool(arguments.group(parameter, 1, least=1))
    arguments.end()
    return Select(mailbox, condstore)


def _append(arguments: Arguments) -> Append:
    mailbox = arguments.mailbox()
    arguments.space()
    flags = Flags()
    internal_date = None
    if arguments.next_is(b"("):
        flags = arguments.flag_list()
        arguments.space()
    if arguments.next_is(b'"'):
        internal_date = arguments.date_time()
        arguments.space()
    content = arguments.literal()
    arguments.end()
    return Append(mailbox, flags, internal_date, content)


_OPERATION = re.compile(rb"([+-]?)FLAGS(\.SILENT)?", re.IGNORECASE)
_OPERATIONS: dict[bytes, Literal["add", "remove", "replace"]] = {
    b"+": "add",
    b"-": "remove",
    b"": "replace",
}


def _store(arguments: Arguments) -> Store:
    numbers = arguments.sequence_set()
    arguments.space()
    unchanged_since = None
    if arguments.next_is(b"("):
        unchanged_since = arguments.group(lambda: _unchanged_since(arguments), 1, least=1)[0]
        arguments.space()
    sign, silent = arguments.match(_OPERATION, "FLAGS").groups()
    arguments.space()
    flags = arguments.flags()
    arguments.end()
    return Store(numbers, _OPERATIONS[sign], flags, silent is not None, unchanged_since)


def _unchanged_since(arguments: Arguments) -> int:
    """The one STORE modifier (rfc7162:2471)."""
    if not arguments.skip_word("UNCHANGEDSINCE "):
        arguments.fail("UNCHANGEDSINCE")
    return arguments.number(most=MAX_NUMBER64)


def _copy(arguments: Arguments) -> Copy:
    numbers = arguments.sequence_set()
    arguments.space()
    mailbox = arguments.mailbox()
    arguments.end()
    return Copy(numbers, mailbox)


def _expunge(arguments: Arguments) -> Expunge:
    numbers = arguments.sequence_set()
    arguments.end()
    return Expunge(numbers)


def _identity(arguments: Arguments) -> Identity:
    fields: list[tuple[str, str | None]] = []
    if not arguments.skip_word("NIL"):
        fields = arguments.group(lambda: _identity_field(arguments), MAX_ID_PAIRS)
    arguments.end()
    return Identity(tuple(fields))


def _identity_field(arguments: Arguments) -> tuple[str, str | None]:
    name = arguments.string("a field name")
    arguments.space()
    value = arguments.nstring()
    if len(name) > MAX_ID_FIELD or len(value or b"") > MAX_ID_VALUE:
        arguments.fail("a shorter field before this place")
    text = None if value is None else value.decode("utf-8", "replace")
    return name.decode("utf-8", "replace"), text


def _enable(arguments: Arguments) -> Enable:
    names = [arguments.atom().upper()]
    while not arguments.at_end():
        arguments.space()
        names.append(arguments.atom().upper())
        if len(names) > MAX_CAPABILITIES:
            arguments.fail(f"at most {MAX_CAPABILITIES} capabilities")
    return Enable(tuple(names))


def _get_quota(arguments: Arguments) -> GetQuota:
    root = arguments.text("a quota root")
    arguments.end()
    return GetQuota(root)


WITHOUT_ARGUMENTS = frozenset(
    {
        "CAPABILITY",
        "CHECK",
        "CLOSE",
        "IDLE",
        "LOGOUT",
        "NAMESPACE",
        "NOOP",
        "STARTTLS",
        "UNSELECT",
    }
)

PARSERS: dict[str, Callable[[Arguments], Any]] = {
    "APPEND": _append,
    "AUTHENTICATE": _authenticate,
    "COPY": _copy,
    "CREATE": _create,
    "DELETE": _mailbox,
    "ENABLE": _enable,
    "EXAMINE": _select,
    "EXPUNGE": _expunge,
    "FETCH": fetch_grammar.fetch,
    "GETQUOTA": _get_quota,
    "GETQUOTAROOT": _mailbox,
    "ID": _identity,
    "LIST": list_grammar.list_,
    "LOGIN": _login,
    "LSUB": list_grammar.lsub,
    "MOVE": _copy,
    "RENAME": _rename,
    "SEARCH": search_grammar.search,
    "SELECT": _select,
    "STATUS": list_grammar.status,
    "STORE": _store,
    "SUBSCRIBE": _mailbox,
    "UNSUBSCRIBE": _mailbox,
}
