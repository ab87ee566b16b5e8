"""What the concurrency tests run in processes of their own: ``python -m tests.directory.worker``.

``switch URL ALIAS`` names file after file until it is killed; ``move URL ALIAS`` moves the file
from primary to primary until then; ``race URL ALIAS OLD`` waits for a
line and tries to replace one file once; ``migrate URL`` waits for a line and migrates.
"""

import secrets
import sys
from datetime import UTC, datetime

from mailsrv.directory.directory import Directory, MailboxRecord
from mailsrv.errors import MailboxMoved
from mailsrv.keys.credential import Credential
from mailsrv.keys.scram import Verifier

CREDENTIALS = 3
MARKER_LENGTH = 12


def now() -> datetime:
    return datetime.now(UTC)


def switch_to(directory: Directory, alias_id: str, file_id: str, replaces: str | None) -> None:
    """Name a file; everything that the transaction writes carries its id."""
    marker = bytes.fromhex(file_id)
    directory.set_mailbox(
        alias_id,
        MailboxRecord(id=file_id, public_key=marker, created=file_id),
        credentials=[
            Credential(
                id=secrets.token_hex(12),
                label=file_id,
                scopes=("imap",),
                main=number == 0,
                verifier=Verifier(salt=marker, iterations=1, stored_key=marker, server_key=marker),
                public_key=marker,
                wrapped_private_key=marker,
                sealed_file_key=marker,
                created=file_id,
            )
            for number in range(CREDENTIALS)
        ],
        salt=marker,
        iterations=1,
        replaces=replaces,
        archive=False,
    )


def _switch(directory: Directory, alias_id: str) -> None:
    while True:
        current = directory.mailbox(alias_id)
        file_id = secrets.token_hex(MARKER_LENGTH)
        switch_to(directory, alias_id, file_id, current.id if current else None)
        print(file_id, flush=True)


def move_to(directory: Directory, alias_id: str, primary: str) -> MailboxRecord:
    """Move the current file, copying nothing."""
    current = directory.mailbox(alias_id)
    assert current is not None
    incoming = directory.begin_move(alias_id, current.id, primary)
    return directory.finish_move(alias_id, current.id, incoming.id)


def _move(directory: Directory, alias_id: str) -> None:
    while True:
        here = directory.alias_by_id(alias_id).primary
        to = "b" if here == "primary" else "primary"
        print(move_to(directory, alias_id, to).id, flush=True)


def _race(directory: Directory, alias_id: str, old: str) -> None:
    directory.mailbox(alias_id)
    print("ready", flush=True)
    sys.stdin.readline()
    file_id = secrets.token_hex(MARKER_LENGTH)
    try:
        switch_to(directory, alias_id, file_id, old)
    except MailboxMoved:
        print("moved", flush=True)
    else:
        print(file_id, flush=True)


def main(task: str, url: str, *arguments: str) -> None:
    directory = Directory(url, now)
    if task == "migrate":
        print("ready", flush=True)
        sys.stdin.readline()
        directory.migrate()
        print(directory.revision(), flush=True)
    else:
        {"switch": _switch, "move": _move, "race": _race}[task](directory, *arguments)
    directory.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
