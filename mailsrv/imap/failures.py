"""Errors to answers: the one place that says how what went wrong is told to a client.

No sentence holds anything that a client sent or a mailbox contains; what is unexpected is logged as
its kind and place, without the values that an exception's text may carry.
"""

from twisted.logger import Logger
from twisted.python.failure import Failure

from mailsrv import errors
from mailsrv.imap.errors import BadSyntax
from mailsrv.imap.reply import Bad, No

log = Logger()

SENTENCES: dict[type[BaseException], str] = {
    errors.AuthenticationFailed: "Login failed",
    errors.NoSuchFolder: "There is no such folder",
    errors.AlreadyExists: "That exists already",
    errors.InvalidInput: "That is not possible",
    errors.FolderHasChildren: "There are folders below it, delete those first",
    errors.OverQuota: "The quota is used up",
    errors.MessageTooLarge: "The message is too large",
    errors.TooManyResults: "The request asks for too much at once",
    errors.MailboxBusy: "The mailbox is busy, try again",
    errors.MailboxMoved: "The password has changed, log in again",
    errors.KeyGone: "The session has ended, log in again",
    errors.WrongKey: "The mailbox is damaged",
    errors.MailboxDamaged: "The mailbox is damaged",
    errors.DiskFull: "The server has no room now",
    errors.MailsrvError: "The server cannot do that now, try again",
}


class UnexpectedError(Exception):
    """Stands in the log for an exception whose own text might show what nobody may read."""


def explain(error: Exception, command: str) -> No | Bad:
    """The tagged answer for an error that a handler or parser raised."""
    if isinstance(error, No | Bad):
        return error
    if isinstance(error, BadSyntax):
        code = type(error).imap_code
        return No(str(error), code) if code else Bad(str(error))
    if isinstance(error, errors.MailsrvError):
        kind = next(one for one in type(error).__mro__ if one in SENTENCES)
        return No(SENTENCES[kind], type(error).imap_code)
    report(Failure(error), command)  # type: ignore[no-untyped-call]
    return No("Something went wrong in the server", "SERVERBUG")


def report(failure: Failure, command: str) -> None:
    """Log an error that nobody expected: where it was raised, not what it says."""
    kind = getattr(failure.type, "__name__", "unknown")
    trace = failure.getTracebackObject()  # type: ignore[no-untyped-call]
    safe = Failure(UnexpectedError(kind), UnexpectedError, trace)  # type: ignore[no-untyped-call]
    log.failure("{command} failed", safe, command=command)
