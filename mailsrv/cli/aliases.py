"""``mailsrv alias``: the addresses, each with a mailbox of its own."""

import sys
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from mailsrv.cli.main import Context, main, now
from mailsrv.cli.output import bold, plain
from mailsrv.cli.sizes import Size, spoken
from mailsrv.directory.base import iso
from mailsrv.directory.directory import Alias
from mailsrv.errors import AlreadyExists, InvalidInput
from mailsrv.store.secret import ServerSecret
from mailsrv.store.volume import Volume
from mailsrv.store.waiting import WaitingFiles

if TYPE_CHECKING:
    from mailsrv.backup.erasing import Erased, Removed

ERASE_PATIENCE = 30.0
"""Seconds to wait for another erasure to end."""


@main.group()
def alias() -> None:
    """Addresses that mail arrives at."""


@alias.command("add")
@click.argument("address")
@click.option("--quota", type=Size(), help="Most that the mailbox may hold, such as 2G.")
@click.option("--primary", help="Name of the primary that shall serve it. Default: this one.")
@click.pass_obj
def add(context: Context, address: str, quota: int | None, primary: str | None) -> None:
    """Make ADDRESS; "*@example.com" takes what no other alias of the domain takes."""
    try:
        made = context.directory.add_alias(
            address, quota=quota, primary=primary or context.settings.link.name
        )
    except AlreadyExists:
        _refuse_deleted(context, context.directory.alias(address))
        raise
    context.output.fact(
        {
            "address": made.address,
            "quota": made.quota,
            "enabled": made.enabled,
            "primary": made.primary,
        },
        f"Added {bold(made.address)}. Next: mailsrv password {plain(made.address)}",
    )


@alias.command("list")
@click.option("--domain", help="Only this domain's.")
@click.pass_obj
def list_(context: Context, domain: str | None) -> None:
    """All aliases, with what their mailboxes hold."""
    directory = context.directory
    size = (lambda octets: octets) if context.output.as_json else spoken
    rows = []
    for known in directory.aliases(domain):
        usage = directory.usage(known.id)
        rows.append(
            {
                "address": known.address,
                "enabled": known.enabled if context.output.as_json else _standing(known),
                "deleted": known.deleted,
                "password": directory.mailbox(known.id) is not None,
                "messages": usage.messages,
                "octets": size(usage.octets),
                "quota": size(known.quota),
            }
        )
    columns = ("address", "enabled", "password", "messages", "octets", "quota")
    context.output.rows(rows, columns, "No aliases yet: mailsrv alias add hello@example.com")


@alias.command("disable")
@click.argument("address")
@click.pass_obj
def disable(context: Context, address: str) -> None:
    """Refuse mail to ADDRESS and logins; its mailbox stays."""
    _set_enabled(context, address, enabled=False)


@alias.command("enable")
@click.argument("address")
@click.pass_obj
def enable(context: Context, address: str) -> None:
    """Take mail and logins again."""
    _set_enabled(context, address, enabled=True)


@alias.command("delete")
@click.argument("address")
@click.option("--now", "at_once", is_flag=True, help="Erase everything at once.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def delete(context: Context, address: str, at_once: bool, yes: bool) -> None:
    """Take no more mail and logins for ADDRESS, and erase it with mailbox and backups.

    That is done after erase.grace_days; until then it can be undeleted.
    """
    known = context.directory.alias(address)
    at_once = at_once or not context.settings.erase.grace_days
    if not yes:
        _confirm(known, at_once=at_once)
    if at_once:
        _say_erased(context, _erase(context, known))
    else:
        _say_marked(context, context.directory.mark_deleted(known.id))


@alias.command("undelete")
@click.argument("address")
@click.pass_obj
def undelete(context: Context, address: str) -> None:
    """Have a deleted ADDRESS back, with everything, until it is erased."""
    back = context.directory.undelete_alias(context.directory.alias(address).id)
    context.output.fact(
        {"address": back.address, "enabled": back.enabled, "deleted": back.deleted},
        f"{bold(back.address)} is back, with everything.",
    )


def _confirm(known: Alias, *, at_once: bool) -> None:
    if not sys.stdin.isatty():
        raise InvalidInput("expected --yes: there is no terminal to ask on")
    click.echo(
        f"{known.address}: its mailbox, waiting mail and backups "
        + ("are erased now, for good." if at_once else "will be erased."),
        err=True,
    )
    if click.prompt("Type the address again", err=True).strip().lower() != known.address.lower():
        raise InvalidInput("that is another address: nothing was deleted")


def _erase(context: Context, known: Alias) -> "Erased":
    # stores of backups take a while to load, which other commands need not pay
    from mailsrv.backup.erasing import Erasing, stores_of
    from mailsrv.backup.stores import BackupStores

    settings, directory = context.settings, context.directory
    volume = Volume(settings.base, settings.store.mailboxes)
    secret = ServerSecret(volume.server_key())
    stores = stores_of(lambda: BackupStores(settings.backup, directory, secret))
    files = WaitingFiles(volume, secret)
    erasing = Erasing(directory, volume, files, stores, now, settings.link.name)
    return erasing.erase_now(known.id, ERASE_PATIENCE)


def _say_marked(context: Context, marked: Alias) -> None:
    until = _until(context, marked)
    document = {"address": marked.address, "deleted": marked.deleted, "erased_after": until}
    context.output.fact(
        document,
        f"Deleted {bold(marked.address)}: it takes no mail and no logins, and is erased "
        f"after {until}.\nUntil then: mailsrv alias undelete {plain(marked.address)}",
    )


def _say_erased(context: Context, erased: "Erased") -> None:
    document = {
        "address": erased.address,
        "erased": erased.finished and not erased.elsewhere,
        "mailboxes": _document(erased.mailboxes),
        "waiting": {**_document(erased.waiting), "messages": erased.messages},
        "shipping": _document(erased.shipping),
        "backups": [{"store": one.store, **_document(one.removed)} for one in erased.backups],
        "problems": erased.problems,
        "elsewhere": erased.elsewhere,
    }
    lines = [
        f"Erased {bold(erased.address)}:",
        f"  mailboxes: {_spoken(erased.mailboxes)}",
        f"  messages that waited: {erased.messages}, {spoken(erased.waiting.octets)}",
        f"  changes on their way to backups: {_spoken(erased.shipping)}",
        *(f"  objects in {plain(one.store)}: {_spoken(one.removed)}" for one in erased.backups),
        *(f"Not yet, the server will try again: {plain(one)}" for one in erased.problems),
        *(f"Primary {plain(one)} erases what it has." for one in erased.elsewhere),
    ]
    context.output.fact(document, "\n".join(lines))
    if erased.problems:
        click.get_current_context().exit(1)


def _document(removed: "Removed") -> dict[str, int]:
    return {"files": removed.count, "octets": removed.octets}


def _spoken(removed: "Removed") -> str:
    return f"{removed.count}, {spoken(removed.octets)}"


def _until(context: Context, marked: Alias) -> str:
    grace = timedelta(days=context.settings.erase.grace_days)
    return iso(datetime.fromisoformat(str(marked.deleted)) + grace)


def _refuse_deleted(context: Context, known: Alias) -> None:
    if known.deleted is not None:
        address = known.address
        raise AlreadyExists(
            f"{address} was deleted and is kept until {_until(context, known)}: "
            f"'mailsrv alias undelete {address}' brings it back, "
            f"'mailsrv alias delete --now {address}' erases it"
        )


def _standing(known: Alias) -> str:
    if known.deleted is not None:
        return f"deleted {known.deleted[:10]}"
    return "yes" if known.enabled else "no"


def _set_enabled(context: Context, address: str, *, enabled: bool) -> None:
    known = context.directory.alias(address)
    _refuse_deleted(context, known)
    context.directory.set_alias_enabled(known.id, enabled)
    word = "Enabled" if enabled else "Disabled"
    context.output.fact(
        {"address": known.address, "enabled": enabled}, f"{word} {bold(known.address)}."
    )
