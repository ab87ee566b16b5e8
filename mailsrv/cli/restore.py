"""``mailsrv restore``: a mailbox back from a backup, or all mailboxes of a machine that was lost.

Passwords come as elsewhere from the terminal, or from standard input a line each: first the one
that opens the backup, then, where that is another one, today's.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import attrs
import click

from mailsrv.backup.interfaces import IObjectStore
from mailsrv.backup.machine import Machine, Outcome
from mailsrv.backup.moments import parse_moment
from mailsrv.backup.restore import Restore, Restored
from mailsrv.backup.restore_sources import Backups, FromArchive, FromFile, FromStore, Source
from mailsrv.backup.stores import BackupStores
from mailsrv.cli.main import Context, main, now
from mailsrv.cli.output import bold, plain
from mailsrv.cli.passwords import ask
from mailsrv.cli.progress import Line
from mailsrv.cli.sizes import spoken
from mailsrv.directory.directory import Alias
from mailsrv.errors import InvalidInput
from mailsrv.store.secret import ServerSecret
from mailsrv.store.volume import Volume


@main.command()
@click.argument("address", required=False)
@click.option(
    "--at", "moment", help="As it was then: 2026-11-23T10:15:00Z, or a date for the end of a day."
)
@click.option("--into", help="Make it the mailbox of this address, which has none.")
@click.option(
    "--file", type=click.Path(path_type=Path, dir_okay=False), help="From a downloaded backup."
)
@click.option("--archived", help="From a former file, which 'mailsrv mailbox show' lists.")
@click.option(
    "--password-lost",
    is_flag=True,
    help="Today's password is lost: the backup's becomes the main password again.",
)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="All mailboxes of this primary whose files are not there. Needs no passwords.",
)
@click.option(
    "--at-once",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="With --all: so many at a time.",
)
@click.pass_obj
def restore(
    context: Context,
    address: str | None,
    moment: str | None,
    into: str | None,
    file: Path | None,
    archived: str | None,
    password_lost: bool,
    everything: bool,
    at_once: int,
) -> None:
    """Bring the mailbox of ADDRESS back as a backup has it, while the server runs.

    Asks for the main password of the time of the backup, and for today's where that is another
    one. Without --at it is the newest backup. The mailbox that was there before stays as an
    archived file, with all that came after the backup.
    """
    chosen = [moment, file, archived]
    if everything:
        if address or into or password_lost or any(chosen):
            raise click.UsageError("expected --all without an address and its options")
        _restore_all(context, at_once)
        return
    if address is None:
        raise click.UsageError("expected an address, or --all")
    if sum(one is not None for one in chosen) > 1:
        raise click.UsageError("expected one of --at, --file and --archived")
    if into is not None and password_lost:
        raise click.UsageError("expected --into without --password-lost")
    _restore_one(context, address, into, password_lost, (moment, file, archived))


def _restore_one(
    context: Context,
    address: str,
    into: str | None,
    password_lost: bool,
    chosen: tuple[str | None, Path | None, str | None],
) -> None:
    known = context.directory.alias(address)
    source = _source(context, known, chosen)
    line = Line(context.output.as_json)

    def today() -> str | None:
        line.end()
        return None if password_lost else ask(f"Main password of {known.address} today")

    password = ask(f"Main password of {known.address} that opens {source.name}")
    restorer = Restore(context.directory, _volume(context), now, context.settings.link.name)
    line.say("Fetching and checking the backup")
    try:
        if into is not None:
            done = restorer.restore_into(into, source, password)
        else:
            done = restorer.restore(known.address, source, password, today)
    finally:
        line.end()
    _say(context, done)


def _source(
    context: Context, known: Alias, chosen: tuple[str | None, Path | None, str | None]
) -> Source:
    moment, file, archived = chosen
    if file is not None:
        if not file.is_file():
            raise InvalidInput(f"{file}: expected the file of a backup")
        return FromFile(file)
    if archived is not None:
        former = [one.id for one in context.directory.archived_mailboxes(known.id)]
        if archived not in former:
            names = ", ".join(former) or "none"
            raise InvalidInput(f"--archived: expected one of {names}, got {archived}")
        return FromArchive(_volume(context), archived, now)
    stores = _stores(context)(known)
    if not stores:
        raise InvalidInput("backup.to: backups are kept nowhere: --file takes a downloaded one")
    wanted = now() if moment is None else parse_moment(moment, now())
    return FromStore(Backups.of(stores, known.id, wanted))


def _volume(context: Context) -> Volume:
    return Volume(context.settings.base, context.settings.store.mailboxes)


def _stores(context: Context) -> Callable[[Alias], list[IObjectStore]]:
    secret = ServerSecret(_volume(context).server_key())
    return BackupStores(context.settings.backup, context.directory, secret).everywhere


def _say(context: Context, done: Restored) -> None:
    address = bold(done.address)
    when = "" if done.taken is None else f" of {done.taken}"
    size = spoken(done.octets)
    said = [f"Restored {address} from the backup{when}: {done.messages} messages, {size}."]
    if done.problem:
        said.append(f"What came later cannot be used: {plain(done.problem)}.")
    if done.set_password:
        said.append("The password of the backup is its main password now.")
    if done.dropped:
        said.append(f"App passwords that went with this: {plain(', '.join(done.dropped))}.")
    if done.brought:
        said.append(f"Messages that had waited for the mailbox of the backup: {done.brought}.")
    if done.archived is not None:
        said.append(
            f"The former mailbox, with all that came after the backup, is kept: mailsrv restore "
            f"{plain(done.address)} --archived {done.archived} brings it back."
        )
    if done.left:
        said.append(f"{done.left} messages wait for that one, and only its password opens them.")
    context.output.fact(attrs.asdict(done), "\n".join(said))


def _restore_all(context: Context, at_once: int) -> None:
    settings = context.settings
    machine = Machine(
        context.directory, _volume(context), now, _stores(context), settings.link.name
    )
    machine.claim()
    aliases = machine.missing()
    outcomes: list[Outcome] = []
    line = Line(context.output.as_json)
    try:
        for outcome in machine.restore_all(aliases, at_once):
            outcomes.append(outcome)
            line.say(f"{len(outcomes)} of {len(aliases)} mailboxes")
    finally:
        line.end()
    outcomes.sort(key=lambda one: one.address)
    _summarise(context, outcomes)
    if any(one.state in ("password", "failed") for one in outcomes):
        click.get_current_context().exit(1)


def _summarise(context: Context, outcomes: list[Outcome]) -> None:
    counted = Counter(one.state for one in outcomes)
    back = counted["restored"] + counted["here"]
    document = {
        "missing": len(outcomes),
        "restored": back,
        "mailboxes": [attrs.asdict(one) for one in outcomes],
    }
    said = [f"Mailboxes whose files were missing: {len(outcomes)}; restored: {back}."]
    for one in outcomes:
        if one.problem:
            said.append(f"{bold(one.address)}: {plain(one.problem)}")
        elif one.state == "password":
            said.append(
                f"{bold(one.address)}: the password may have been changed since its newest "
                f"backup of {one.taken}. Its owner restores it: mailsrv restore "
                f"{plain(one.address)}"
            )
    context.output.fact(document, "\n".join(said))
