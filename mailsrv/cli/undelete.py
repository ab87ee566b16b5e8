"""``mailsrv undelete``: expunged messages of a mailbox, listed, put back, or purged for good.

The owner's password opens the mailbox, beside the server; it is asked for as in ``passwords``.
"""

from datetime import datetime

import attrs
import click

from mailsrv.cli.beside import beside
from mailsrv.cli.main import Context, main
from mailsrv.cli.output import bold, plain
from mailsrv.cli.passwords import ask
from mailsrv.cli.sizes import spoken
from mailsrv.mailbox.values import ExpungedMessage, ExpungedQuery, Undeleted
from mailsrv.store.beside import OpenedBeside

_TIMES = ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ")
_COLUMNS = ("id", "expunged", "folder", "sender", "subject", "size")


@attrs.frozen
class _Wanted:
    """What was asked for, once it is known to make sense."""

    which: ExpungedQuery
    list_: bool
    purge: bool
    to: str | None
    limit: int


@main.command()
@click.argument("address")
@click.option("--list", "list_", is_flag=True, help="Only say which there are.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="Most that --list says: the newest.",
)
@click.option("--id", "ids", type=int, multiple=True, help="This one of the list; repeatable.")
@click.option("--folder", help="Those that were in this folder.")
@click.option("--since", type=click.DateTime(_TIMES), help="Those expunged since (UTC).")
@click.option("--subject", default="", help="Those with this text in the subject.")
@click.option("--all", "everything", is_flag=True, help="All of them.")
@click.option("--to", help="Put them into this folder, not where they were; it is made if need be.")
@click.option("--purge", is_flag=True, help="Remove them for good: asks for the main password.")
@click.pass_obj
def undelete(
    context: Context,
    address: str,
    list_: bool,
    limit: int,
    ids: tuple[int, ...],
    folder: str | None,
    since: datetime | None,
    subject: str,
    everything: bool,
    to: str | None,
    purge: bool,
) -> None:
    """Put expunged messages of ADDRESS back into their folders, made again where they are gone.

    They are to be had for store.undelete_days. The mailbox may be in use meanwhile.
    """
    which = ExpungedQuery(
        ids=ids or None,
        folder=folder,
        since=None if since is None else since.strftime("%Y-%m-%dT%H:%M:%SZ"),
        subject=subject,
    )
    wanted = _Wanted(which, list_, purge, to, limit)
    _check(wanted, everything)
    address = context.directory.alias(address).address
    whose = "Main password" if purge else "Password"
    password = ask(f"{whose} of {address}")
    with beside(context).open(address, password, None if purge else "imap") as opened:
        _do(context, opened, wanted)


def _check(wanted: _Wanted, everything: bool) -> None:
    if wanted.list_ + wanted.purge + (wanted.to is not None) > 1:
        raise click.UsageError("expected one of --list, --to and --purge")
    some = wanted.which != ExpungedQuery()
    if everything and some:
        raise click.UsageError("expected --all alone, or some of them")
    if not (everything or some or wanted.list_):
        raise click.UsageError("expected --all, or which: --id, --folder, --since, --subject")


def _do(context: Context, opened: OpenedBeside, wanted: _Wanted) -> None:
    address = opened.alias.address
    if wanted.list_:
        _list(context, opened, wanted)
    elif wanted.purge:
        purged = opened.purge(wanted.which)
        context.output.fact(
            {"address": address, "purged": purged.messages, "octets": purged.octets},
            f"Purged {purged.messages} messages ({spoken(purged.octets)}) of {bold(address)}.",
        )
    else:
        _say(context, address, opened.undelete(wanted.which, wanted.to))


def _say(context: Context, address: str, undeleted: Undeleted) -> None:
    names = [folder.name for folder in undeleted.folders]
    document = {
        "address": address,
        "undeleted": undeleted.messages,
        "octets": undeleted.octets,
        "folders": names,
    }
    sentence = f"No such messages of {bold(address)} are to be had back."
    if names:
        where = plain(", ".join(map(_shown, names)))
        sentence = f"Put {undeleted.messages} messages of {bold(address)} back into {where}."
    context.output.fact(document, sentence)


def _list(context: Context, opened: OpenedBeside, wanted: _Wanted) -> None:
    found: list[ExpungedMessage] = []
    before: int | None = None
    while len(found) < wanted.limit:
        page = opened.mailbox.expunged(wanted.which, before, wanted.limit - len(found))
        found += page.messages
        before = page.before
        if before is None:
            break
    as_json = context.output.as_json
    rows = [
        {
            "id": one.id,
            "expunged": one.expunged,
            "folder": one.folder if as_json else _shown(one.folder),
            "sender": one.sender if as_json else _shown(one.sender),
            "subject": one.subject if as_json else _shown(one.subject),
            "size": one.size if as_json else spoken(one.size),
        }
        for one in found
    ]
    context.output.rows(rows, _COLUMNS, "No expunged messages are to be had back.")


def _shown(text: str) -> str:
    """What a stranger wrote, without what would drive a terminal."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)
