"""``mailsrv export`` and ``mailsrv import``: mail is taken away and brought, beside the server."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import click

from mailsrv.backup.exchange.encrypted import copy_encrypted, copy_sqlcipher
from mailsrv.backup.exchange.exporting import Export, Exported
from mailsrv.backup.exchange.formats.index import Format
from mailsrv.backup.exchange.formats.values import Source
from mailsrv.backup.exchange.importing import Import, Imported, Target
from mailsrv.backup.exchange.opening import MailboxSource, is_mailbox, open_source
from mailsrv.backup.restore_sources import key_of
from mailsrv.cli.beside import beside
from mailsrv.cli.main import Context, main, now
from mailsrv.cli.output import bold, plain
from mailsrv.cli.passwords import ask
from mailsrv.cli.progress import MessagesBar
from mailsrv.cli.sizes import spoken
from mailsrv.errors import AuthenticationFailed, Elsewhere, InvalidInput, Unavailable, WrongKey
from mailsrv.mailbox.incoming import marked
from mailsrv.mailbox.outgoing import open_copy, snapshot
from mailsrv.store.beside import OpenedBeside

if TYPE_CHECKING:
    from mailsrv.backup.exchange.imap_source import ImapSource

Form = Literal["mbox", "maildir", "eml", "sqlite", "sqlcipher"]
FORMS = ("mbox", "maildir", "eml", "sqlite", "sqlcipher")

AGAIN = "interrupted: give the same command again, and it goes on"
TOLD = 20
"""Lines about what was not taken that people are shown; --json has more."""


@main.command("export")
@click.argument("address")
@click.option("--format", "form", type=click.Choice(FORMS), required=True, help="What to write.")
@click.argument("target", type=click.Path(path_type=Path))
@click.pass_obj
def export(context: Context, address: str, form: Form, target: Path) -> None:
    """Write the mailbox of ADDRESS to TARGET, with all folders, flags, keywords and dates.

    mbox, maildir and eml make a directory of files that any program reads: it is not encrypted.
    sqlite is the mailbox file itself and sqlcipher one for SQLCipher: both open with the main
    password, which is asked for. A command that was cut short goes on when it is given again.
    """
    with _open(context, address) as (mine, password):
        waiting = mine.bring_in_waiting()
        if waiting:
            mine.touch()
        encrypted = form in ("sqlite", "sqlcipher")
        if form == "sqlite":
            done = _one_file(mine, copy_encrypted(mine.mailbox, mine.opened.key, target))
        elif form == "sqlcipher":
            done = _one_file(mine, copy_sqlcipher(mine.mailbox, password, target))
        else:
            done = _directory(context, mine, form, target)
    document: dict[str, Any] = {
        "address": mine.alias.address,
        "format": form,
        "target": str(target),
        "folders": done.folders,
        "messages": done.messages,
        "octets": done.octets,
        "encrypted": encrypted,
    }
    safety = (
        "It opens with the main password of the mailbox."
        if encrypted
        else "It is not encrypted: who can read these files can read the mail."
    )
    context.output.fact(
        document,
        f"Exported {done.messages} messages in {done.folders} folders of "
        f"{bold(mine.alias.address)} to {plain(str(target))}. {safety}",
    )


@main.command("import")
@click.argument("address")
@click.argument("source")
@click.option(
    "--ca",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Certificates that vouch for an IMAP server, in place of the system's.",
)
@click.pass_obj
def import_(context: Context, address: str, source: str, ca: Path | None) -> None:
    """Bring mail from SOURCE into the mailbox of ADDRESS.

    SOURCE is an export of this server, a Maildir, an mbox file or a tree of them (Thunderbird,
    Apple Mail, Google Takeout), .eml files, a backup, or another server: imaps://user@host[:port]/
    Given again it brings what is missing, and nothing twice.
    """
    with _open(context, address) as (mine, _):
        largest = context.settings.limits.message_size
        opened = _source(mine, source, ca, largest)
        target = Target(mine.mailbox, mine.alias.id, mine.usages, mine.changed)
        try:
            total = [one.messages for one in opened.folders()]
            known = sum(one or 0 for one in total) if total and None not in total else None
            with MessagesBar(known, quiet=context.output.as_json) as bar:
                done = Import(target, opened, largest, bar).run()
        finally:
            mine.touch()
            opened.close()
    _say(context, mine.alias.address, source, done)


def _say(context: Context, address: str, source: str, done: Imported) -> None:
    document = {
        "address": address,
        "source": source,
        "messages": done.messages,
        "known": done.known,
        "octets": done.octets,
        "remarks": done.left,
        "told": [{"folder": one.folder, "what": one.what} for one in done.told],
    }
    lines = [f"Imported {done.messages} messages ({spoken(done.octets)}) into {bold(address)}."]
    if done.known:
        lines.append(f"{done.known} were there already.")
    lines += [f"{plain(one.folder)}: {plain(one.what)}" for one in done.told[:TOLD]]
    if done.left > TOLD:
        lines.append(f"... and {done.left - TOLD} more such lines; --json tells up to 1000.")
    context.output.fact(document, "\n".join(lines))


@contextmanager
def _open(context: Context, address: str) -> Iterator[tuple[OpenedBeside, str]]:
    """The mailbox and its main password. InvalidInput where it is not on this machine."""
    mailboxes = beside(context)
    known = mailboxes.alias(address)
    password = ask(f"Main password of {known.address}")
    try:
        with _interruptible(), mailboxes.open(known.address, password, None) as mine:
            yield mine, password
    except Elsewhere as error:
        raise InvalidInput(f"{known.address} is {error}: run this there") from None


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C ends the work as a crash would, and what it comes to is one line: Unavailable."""
    came: list[int] = []

    def note(number: int, _frame: object) -> None:
        came.append(number)
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, note)
    try:
        yield
    except BaseException:
        if came:  # libraries that it comes in the middle of fail with errors of their own
            raise Unavailable(AGAIN) from None
        raise
    finally:
        signal.signal(signal.SIGINT, before)


def _directory(context: Context, mine: OpenedBeside, form: str, target: Path) -> Exported:
    total = mine.mailbox.usage().messages
    with (
        snapshot(mine.mailbox) as view,
        MessagesBar(total, quiet=context.output.as_json) as bar,
    ):
        return Export(target, cast("Format", form), bar).run(view)


def _one_file(mine: OpenedBeside, octets: int) -> Exported:
    return Exported(len(mine.mailbox.folders()), mine.mailbox.usage().messages, octets)


def _source(mine: OpenedBeside, source: str, ca: Path | None, largest: int) -> Source:
    if "://" in source:
        return _imap(mine, source, ca, largest)
    path = Path(source)
    if is_mailbox(path):
        return _mailbox(path)
    return open_source(path, largest)


def _mailbox(path: Path) -> MailboxSource:
    """Another mailbox file, by the password that it had."""
    password = ask(f"Password of {path.name}")
    try:
        return MailboxSource(open_copy(path, key_of(path, password), now))
    except WrongKey:
        raise AuthenticationFailed(f"{path} does not open with this password") from None


def _imap(mine: OpenedBeside, url: str, ca: Path | None, largest: int) -> "ImapSource":
    from mailsrv.backup.exchange.imap_client import ImapClient
    from mailsrv.backup.exchange.imap_source import Address, ImapSource, verified

    address = Address.parse(url)
    context = verified(ca)
    password = ask(f"Password of {address.user} at {address.host}")
    client = ImapClient(address.host, address.port, context, largest)
    client.login(address.user, password)
    return ImapSource(client, address, largest, lambda name: marked(mine.mailbox, name))
