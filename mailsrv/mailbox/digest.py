"""Whether a mailbox holds something else than before, without reading its messages.

Two copies of one mailbox are never the same octets: the cipher takes a fresh nonce for each page.
What changes a mailbox raises a counter of a folder, though, or the octets of what can be undeleted
(when some of that is purged), so that these tell: equal digests mean equal content. The reverse
need not hold: a change that was taken back counts as one.
"""

import hashlib

import apsw
import msgspec

from mailsrv.mailbox import sql

_FOLDERS = (
    "SELECT object_id, name, special_use, uidvalidity, uidnext, highestmodseq, messages, size "
    "FROM folder ORDER BY object_id"
)
_SUBSCRIPTIONS = "SELECT name FROM subscription ORDER BY name"
_RECOVERABLE = "SELECT value FROM meta WHERE name = 'recoverable'"


def content_digest(connection: apsw.Connection) -> bytes:
    """SHA-256 over the counters of all folders, the subscriptions, and what can be undeleted."""
    counters = [sql.rows(connection, one) for one in (_FOLDERS, _SUBSCRIPTIONS, _RECOVERABLE)]
    return hashlib.sha256(msgspec.msgpack.encode(counters)).digest()
