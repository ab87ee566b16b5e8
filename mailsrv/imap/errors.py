"""What can be wrong with a command as written.

Messages name what was expected and where, and never repeat what was sent: a password may
stand in the wrong place.
"""

from mailsrv.errors import MailsrvError


class BadSyntax(MailsrvError):
    """The command does not follow the grammar; answered with a tagged BAD.

    Subclasses with an ``imap_code`` are well formed but cannot be served: a tagged NO.
    """

    tag: str = ""
    """The command's tag where it could be read."""


class BadName(BadSyntax):
    """A mailbox name that is neither modified UTF-7 nor UTF-8, or has control characters."""

    imap_code = "CANNOT"


class BadCharset(BadSyntax):
    """SEARCH in a character set other than US-ASCII and UTF-8 (rfc9051:3838)."""

    imap_code = "BADCHARSET (US-ASCII UTF-8)"
