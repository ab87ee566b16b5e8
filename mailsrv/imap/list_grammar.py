"""What LIST, LSUB and STATUS ask for: basic and extended (rfc9051:2224, rfc5258, rfc5819,
rfc6154).
"""

import msgspec

from mailsrv.imap.arguments import Arguments

MAX_PATTERNS = 100
MAX_OPTIONS = 20

STATUS_ITEMS = frozenset(
    {
        "MESSAGES",
        "RECENT",
        "UIDNEXT",
        "UIDVALIDITY",
        "UNSEEN",
        "HIGHESTMODSEQ",
        "SIZE",
        "DELETED",
        "DELETED-STORAGE",
        "APPENDLIMIT",
    }
)
"""rfc9051:7056, rfc3501:5047 for RECENT, rfc7162:2452, rfc7889:236."""

SELECTIONS = frozenset({"SUBSCRIBED", "REMOTE", "RECURSIVEMATCH", "SPECIAL-USE"})
RETURNS = frozenset({"SUBSCRIBED", "CHILDREN", "SPECIAL-USE", "STATUS"})


class List(msgspec.Struct, frozen=True):
    """Arguments of LIST and LSUB; names and patterns are decoded.

    ``extended`` tells that the client used a selection, a RETURN or a list of patterns, and so
    understands the answers of rfc5258. ``status`` are the items of LIST-STATUS in order.
    """

    reference: str
    patterns: tuple[str, ...]
    select: frozenset[str] = frozenset()
    returns: frozenset[str] = frozenset()
    status: tuple[str, ...] = ()
    extended: bool = False


class Status(msgspec.Struct, frozen=True):
    """Arguments of STATUS; items once each, in the order asked for."""

    mailbox: str
    items: tuple[str, ...]


def lsub(arguments: Arguments) -> List:
    """Parse LSUB's arguments (rfc3501:2374)."""
    reference = arguments.mailbox()
    arguments.space()
    pattern = arguments.list_mailbox()
    arguments.end()
    return List(reference, (pattern,))


def list_(arguments: Arguments) -> List:
    """Parse LIST's arguments (rfc9051:6600)."""
    selected = arguments.next_is(b"(")
    select = _selections(arguments) if selected else frozenset[str]()
    reference = arguments.mailbox()
    arguments.space()
    several = arguments.next_is(b"(")
    if several:
        patterns = tuple(arguments.group(arguments.list_mailbox, MAX_PATTERNS, least=1))
    else:
        patterns = (arguments.list_mailbox(),)
    returning = not arguments.at_end()
    returns, items = _returns(arguments) if returning else (frozenset[str](), ())
    arguments.end()
    return List(reference, patterns, select, returns, items, selected or several or returning)


def status(arguments: Arguments) -> Status:
    """Parse STATUS's arguments (rfc9051:7053)."""
    mailbox = arguments.mailbox()
    arguments.space()
    items = _status_items(arguments)
    arguments.end()
    return Status(mailbox, items)


def _selections(arguments: Arguments) -> frozenset[str]:
    def option() -> str:
        name = arguments.keyword("a LIST selection option")
        if name not in SELECTIONS:
            arguments.fail("a LIST selection option before this place")
        return name

    options = frozenset(arguments.group(option, MAX_OPTIONS))
    if "RECURSIVEMATCH" in options and "SUBSCRIBED" not in options:
        arguments.fail("SUBSCRIBED together with RECURSIVEMATCH before this place")
    arguments.space()
    return options


def _returns(arguments: Arguments) -> tuple[frozenset[str], tuple[str, ...]]:
    arguments.space()
    if not arguments.skip_word("RETURN "):
        arguments.fail("RETURN")
    items: tuple[str, ...] = ()

    def option() -> str:
        nonlocal items
        name = arguments.keyword("a LIST return option")
        if name not in RETURNS:
            arguments.fail("a LIST return option before this place")
        if name == "STATUS":
            arguments.space()
            items = _status_items(arguments)
        return name

    return frozenset(arguments.group(option, MAX_OPTIONS)), items


def _status_items(arguments: Arguments) -> tuple[str, ...]:
    def item() -> str:
        name = arguments.keyword("a STATUS item")
        if name not in STATUS_ITEMS:
            arguments.fail("a STATUS item before this place")
        return name

    return tuple(dict.fromkeys(arguments.group(item, MAX_OPTIONS, least=1)))
