"""Labels of Gmail as folders and flags: a message has many labels there and one folder here.

The first of these decides: Trash, Spam, Drafts, Sent, Inbox, a label of the owner's own; without
any the message is in the archive. The owner's other labels become keywords.
"""

from collections.abc import Iterable

from mailsrv.mailbox.keywords import acceptable
from mailsrv.mailbox.values import DRAFT, FLAGGED, SEEN, Flags

_FOLDERS = {
    "trash": "Trash",
    "spam": "Junk",
    "drafts": "Drafts",
    "draft": "Drafts",
    "sent": "Sent",
    "inbox": "INBOX",
}
_NO_FOLDER = ("archived", "unread", "opened", "starred", "important", "chat", "muted")
_CATEGORY = "category "


def folder_and_flags(labels: Iterable[str]) -> tuple[str, Flags]:
    """Where a message with these labels goes, and with which flags."""
    own: list[str] = []
    known: set[str] = set()
    for label in labels:
        word = label.lower()
        if word in _FOLDERS or word in _NO_FOLDER:
            known.add(word)
        elif not word.startswith(_CATEGORY):
            own.append(label)
    system = (
        SEEN * ("unread" not in known)
        | FLAGGED * ("starred" in known)
        | DRAFT * bool(known & {"draft", "drafts"})
    )
    folder = next((name for word, name in _FOLDERS.items() if word in known), None)
    if folder is None:
        folder = own.pop(0) if own else "Archive"
    return folder, Flags(system, acceptable(own))
