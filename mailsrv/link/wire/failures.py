"""Errors on the wire: the name of a class of ``mailsrv.errors`` and its sentence.

Nothing else is ever carried. What nobody expected is logged by kind and place where it happened
and reaches the other side as Unavailable, without its text.
"""

from collections.abc import Iterator

from twisted.internet.defer import CancelledError

from mailsrv import errors
from mailsrv.errors import Elsewhere, LinkLost, MailsrvError, Unavailable
from mailsrv.store.workers import log_unexpected

SENTENCE_LENGTH = 1000


def _walk(kind: type[MailsrvError]) -> Iterator[type[MailsrvError]]:
    if kind.__module__ == errors.__name__:
        yield kind
    for below in kind.__subclasses__():
        yield from _walk(below)


# that a link was lost is known to the side that lost it; told, it would make the other re-send
_KINDS = {kind.__name__: kind for kind in _walk(MailsrvError) if kind is not LinkLost}


def describe(error: BaseException) -> tuple[str, str]:
    """Kind and sentence of an error; logs one that nobody expected."""
    if isinstance(error, MailsrvError):
        kind = next(one.__name__ for one in type(error).__mro__ if one.__name__ in _KINDS)
        return kind, str(error)[:SENTENCE_LENGTH]
    if isinstance(error, CancelledError):
        return Unavailable.__name__, "cancelled"
    log_unexpected(error)
    return Unavailable.__name__, "the other side failed to answer"


def rebuild(kind: str, sentence: str) -> MailsrvError:
    """The error that was described; Unavailable for a kind that we do not know."""
    found = _KINDS.get(kind, Unavailable)
    clean = printable(sentence)
    if issubclass(found, Elsewhere):
        return found(clean.rpartition(" ")[2])
    return found(clean)


def printable(sentence: str) -> str:
    """Fit for a log and for one line of a protocol."""
    return "".join(one if one.isprintable() else "?" for one in sentence)
