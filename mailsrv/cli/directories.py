"""``mailsrv directory``: the directory as a file to keep elsewhere, and back again."""

import os
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click

from mailsrv.cli.main import Context, main
from mailsrv.cli.output import bold
from mailsrv.store.volume import naming, sync_folder

STANDARD = "-"


@main.group()
def directory() -> None:
    """Everything that is known of addresses: written to a file, and read from one."""


@directory.command("dump")
@click.argument("file")
@click.pass_obj
def dump(context: Context, file: str) -> None:
    """Write the whole directory to FILE ('-': standard output), while the server runs.

    It holds addresses, verifiers of passwords and sealed keys, but no password, and opens no
    mailbox. Whoever has it can guess at passwords: keep it as secret as the directory.
    """
    if file == STANDARD:
        context.directory.dump(sys.stdout.buffer.write)
        sys.stdout.buffer.flush()
        return
    path = Path(file)
    with _replacing(path) as write:
        count = context.directory.dump(write)
    context.output.fact(
        {"file": file, "rows": count},
        f"Wrote {count} rows to {bold(file)}. There are verifiers of passwords and sealed keys "
        "in it, and no passwords: keep it as secret as the directory.",
    )


@directory.command("load")
@click.argument("file")
@click.pass_obj
def load(context: Context, file: str) -> None:
    """Fill the empty directory that the configuration names with a dump in FILE ('-': standard
    input), all or nothing.

    The dump may come from the other kind of database, but must come from this version.
    """
    if file == STANDARD:
        count = context.directory.load(_lines(sys.stdin.buffer))
    else:
        with Path(file).open("rb") as source:
            count = context.directory.load(_lines(source))
    context.output.fact(
        {"file": file, "rows": count}, f"Read {count} rows. 'mailsrv restore --all' is next."
    )


@contextmanager
def _replacing(path: Path) -> Iterator[Callable[[bytes], int]]:
    """A file for its owner alone, that takes the place of an earlier one when it is complete."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with naming(path):
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file.write
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


_LONGEST = 64 * 1024 * 1024


def _lines(file: BinaryIO) -> Iterator[bytes]:
    # what is no dump may have no lines, and need not fit into memory
    while line := file.readline(_LONGEST):
        yield line
