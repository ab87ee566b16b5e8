"""``mailsrv backup``: copies of mailboxes, and where they are kept.

All but ``now`` need no password: backups are encrypted, and stay so.
"""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from mailsrv.backup.by_hand import back_up_now
from mailsrv.backup.copies import fetch_copy
from mailsrv.backup.daily import Daily
from mailsrv.backup.moments import parse_moment
from mailsrv.backup.stores import BackupStores
from mailsrv.backup.verification import Copies
from mailsrv.cli.beside import beside
from mailsrv.cli.main import Context, main, now
from mailsrv.cli.output import bold, plain
from mailsrv.cli.passwords import ask
from mailsrv.cli.sizes import spoken
from mailsrv.directory.directory import BackupStanding
from mailsrv.errors import AlreadyExists, BackupDamaged, MailsrvError, NoSuchBackup
from mailsrv.store.secret import ServerSecret
from mailsrv.store.volume import Volume, naming

AT = click.option(
    "--at",
    "moment",
    metavar="TIME",
    help="The newest that is not younger: 2026-11-23T10:15:00Z, or a date for the end of a day.",
)


@main.group()
def backup() -> None:
    """Backups of mailboxes."""


@backup.command("list")
@click.argument("address", required=False)
@click.pass_obj
def list_(context: Context, address: str | None) -> None:
    """The backups of ADDRESS that are kept, oldest first; without it, how all addresses stand."""
    if address is None:
        _list_all(context)
    else:
        _list_copies(context, address)


def _list_all(context: Context) -> None:
    late = now() - timedelta(hours=context.settings.backup.late_hours)
    rows = [
        {
            "address": one.address,
            "state": _state(one, late),
            "taken": one.record.taken,
            "checked": one.record.checked,
            "wanted_since": one.record.wanted,
            "problem": one.record.problem,
        }
        for one in context.directory.all_backup_standings()
    ]
    columns = ("address", "state", "taken", "problem")
    context.output.rows(rows, columns, "No mailboxes yet.")


def _state(standing: BackupStanding, late: datetime) -> str:
    record = standing.record
    if record.problem is not None:
        return "failed"
    if record.wanted is not None:
        return "late" if datetime.fromisoformat(record.wanted) <= late else "wanted"
    return "none yet" if record.taken is None else "kept"


def _list_copies(context: Context, address: str) -> None:
    copies = _copies(context, address)
    current = context.directory.mailbox(context.directory.alias(address).id)
    size = (lambda octets: octets) if context.output.as_json else spoken
    rows: list[dict[str, Any]] = [
        {
            "taken": one.manifest.taken,
            "octets": size(one.manifest.octets),
            "messages": one.manifest.messages,
            "password": "today's"
            if current is not None and one.manifest.mailbox == current.id
            else "that of then",
            "mailbox": one.manifest.mailbox,
        }
        for one in copies.all()
    ]
    columns = ("taken", "octets", "messages", "password", "mailbox")
    context.output.rows(rows, columns, f"No backup of {plain(address)} is kept.")
    damaged = copies.damaged()
    if damaged:
        raise BackupDamaged(f"{len(damaged)} more cannot be read: {', '.join(damaged)}")


@backup.command("now")
@click.argument("address")
@click.pass_obj
def now_(context: Context, address: str) -> None:
    """Back ADDRESS up now, unless nothing has changed since the last time. Asks for the password.

    While its owner is logged in the server does so by itself.
    """
    known = context.directory.alias(address)
    password = ask(f"Main password of {known.address}")
    outcome = back_up_now(_daily(context), beside(context), known.address, password)
    sentence = f"Backed up {bold(known.address)}: {spoken(outcome.octets)}."
    if outcome.what == "unchanged":
        sentence = f"Nothing has changed in {bold(known.address)} since {outcome.taken}."
    document = {
        "address": known.address,
        "outcome": outcome.what,
        "taken": outcome.taken,
        "octets": outcome.octets,
    }
    context.output.fact(document, sentence)


@backup.command("download")
@click.argument("address")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@AT
@click.pass_obj
def download(context: Context, address: str, file: Path, moment: str | None) -> None:
    """Write a backup of ADDRESS to FILE, encrypted as it is, checked on arrival."""
    if file.exists():
        raise AlreadyExists(f"{file} is already there")
    kept = _copies(context, address).at(_moment(moment))
    with naming(file):
        fetch_copy(kept.store, kept.manifest, file)
    context.output.fact(
        {
            "file": str(file),
            "taken": kept.manifest.taken,
            "octets": kept.manifest.octets,
            "messages": kept.manifest.messages,
        },
        f"Wrote the backup of {kept.manifest.taken} to {bold(str(file))}: "
        f"{spoken(kept.manifest.octets)}, {kept.manifest.messages} messages.\n"
        "It opens with the main password of that time in any tool with SQLite3MultipleCiphers, "
        "cipher chacha20; docs/owners.rst shows how.",
    )


@backup.command("verify")
@click.argument("address", required=False)
@AT
@click.option("--password", is_flag=True, help="Ask for the password, open it, check everything.")
@click.option("--all", "every", is_flag=True, help="The newest backup of every address.")
@click.pass_obj
def verify(
    context: Context, address: str | None, moment: str | None, password: bool, every: bool
) -> None:
    """Fetch a backup of ADDRESS, the newest by default, and check it.

    Without the password: that its octets are those that were put there, and look like a mailbox.
    With it: all that is in it. The operator is told of one that is damaged.
    """
    if every == (address is not None) or (every and (password or moment)):
        raise click.UsageError("expected either ADDRESS or --all alone")
    if address is None:
        _verify_all(context)
        return
    secret = ask(f"Main password of {address} at that time") if password else None
    found = _copies(context, address).verify(_moment(moment), secret)
    how = "it opens, and all is in it" if found.opened else "its octets are those put there"
    context.output.fact(
        {
            "address": address,
            "taken": found.manifest.taken,
            "octets": found.manifest.octets,
            "messages": found.manifest.messages,
            "opened": found.opened,
        },
        f"The backup of {bold(address)} of {found.manifest.taken} is good: {how}.",
    )


def _verify_all(context: Context) -> None:
    daily, rows = _daily(context), []
    for standing in context.directory.all_backup_standings():
        row: dict[str, Any] = {"address": standing.address, "taken": None, "good": True}
        row["problem"] = None
        try:
            alias = context.directory.alias_by_id(standing.alias)
            found = Copies(daily, alias).verify(None, None)
            row["taken"] = found.manifest.taken
        except NoSuchBackup:
            row |= {"good": None, "problem": "there is none yet"}
        except MailsrvError as error:
            row |= {"good": False, "problem": str(error)}
        rows.append(row)
    context.output.rows(rows, ("address", "taken", "good", "problem"), "No mailboxes yet.")
    bad = sum(row["good"] is False for row in rows)
    if bad:
        raise BackupDamaged(f"{bad} of {len(rows)} backups could not be verified")


def _moment(text: str | None) -> datetime | None:
    return None if text is None else parse_moment(text, now())


def _volume(context: Context) -> Volume:
    return Volume(context.settings.base, context.settings.store.mailboxes)


def _daily(context: Context) -> Daily:
    volume, backup = _volume(context), context.settings.backup
    stores = BackupStores(backup, context.directory, ServerSecret(volume.server_key()))
    daily = Daily(context.directory, volume, stores, backup, now)
    daily.prepare()
    return daily


def _copies(context: Context, address: str) -> Copies:
    return Copies(_daily(context), context.directory.alias(address))
