"""The first opening of a file that came from a backup without its owner's key.

Its folders get new UIDVALIDITYs before any client hears of them. The file itself remembers that,
so whoever is killed between the two steps, or opens it at the same moment, does no harm.
"""

from mailsrv.directory.directory import Directory
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.restored import renumber_once
from mailsrv.store.authentication import Opened


def settle(directory: Directory, opened: Opened, mailbox: Mailbox) -> None:
    """Do what is left to be done. Blocking."""
    if opened.restored is not None:
        renumber_once(mailbox)
        directory.settle_restore(opened.mailbox)
