"""``mailsrv mailbox``: where mailboxes lie, and moving them from one primary to another."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import click

from mailsrv.cli.main import Context, main
from mailsrv.cli.output import bold, plain
from mailsrv.cli.progress import Line
from mailsrv.cli.sizes import spoken
from mailsrv.directory.directory import Alias
from mailsrv.errors import InvalidInput, Unavailable
from mailsrv.settings import Primary, Settings

if TYPE_CHECKING:
    from mailsrv.link.moving.mover import Moved, Progress


@main.group()
def mailbox() -> None:
    """Mailbox files: on which primary they are, and moving them."""


@mailbox.command("list")
@click.option("--domain", help="Only this domain's.")
@click.option("--primary", help="Only those that this primary serves.")
@click.pass_obj
def list_(context: Context, domain: str | None, primary: str | None) -> None:
    """All addresses, with the primary that serves each."""
    directory = context.directory
    size = (lambda octets: octets) if context.output.as_json else spoken
    rows = []
    for known in directory.aliases(domain):
        if primary in (None, known.primary):
            record, usage = directory.mailbox(known.id), directory.usage(known.id)
            rows.append(
                {
                    "address": known.address,
                    "primary": known.primary,
                    "mailbox": record.id if record else None,
                    "messages": usage.messages,
                    "octets": size(usage.octets),
                }
            )
    columns = ("address", "primary", "mailbox", "messages", "octets")
    context.output.rows(rows, columns, "No addresses: mailsrv alias add hello@example.com")


@mailbox.command("show")
@click.argument("address")
@click.pass_obj
def show(context: Context, address: str) -> None:
    """Every file of ADDRESS: the current one, archived ones, and what a move left or copies.

    A moved one is the old copy of the current file: it goes once the owner has logged in.
    """
    known = context.directory.alias(address)
    rows = [
        {
            "mailbox": one.id,
            "state": one.state,
            "primary": one.primary,
            "created": one.created,
        }
        for one in context.directory.mailbox_files(known.id)
    ]
    columns = ("mailbox", "state", "primary", "created")
    empty = f"No mailbox yet; primary {known.primary} serves {plain(known.address)}."
    context.output.rows(rows, columns, empty)


@mailbox.command("move")
@click.argument("address")
@click.argument("primary")
@click.pass_obj
def move(context: Context, address: str, primary: str) -> None:
    """Move the mailbox of ADDRESS to PRIMARY while it is in use; clients see a pause.

    Both primaries have to be up, and known to the configuration here. Whatever fails, the mailbox
    is whole, here or there, and the command may be given again.
    """
    known = context.directory.alias(address)
    reachable = _primaries(context.settings)
    if primary not in reachable:
        names = ", ".join(sorted(reachable)) or "none"
        raise InvalidInput(f"link.primaries: expected one of {names}, got {primary}")
    if known.primary == primary:
        _say(context, known, primary, None)
    elif context.directory.mailbox(known.id) is None:
        context.directory.set_primary(known.id, primary)
        _say(context, known, primary, None)
    else:
        _say(context, known, primary, _move(context, known, primary, reachable))


def _move(context: Context, known: Alias, primary: str, reachable: dict[str, Primary]) -> "Moved":
    # the link takes a third of a second to load, which other commands need not pay
    from mailsrv.link.moving.operator import carry
    from mailsrv.link.wire.limits import LinkLimits

    source = reachable.get(known.primary)
    if source is None:
        raise InvalidInput(
            f"link.primaries.{known.primary}: expected an entry, {known.address} is there"
        )
    limits = LinkLimits(message_octets=context.settings.limits.message_size)
    report = _Report(context.output.as_json)
    try:
        return run(
            lambda reactor: carry(
                known.id,
                (known.primary, source),
                (primary, reachable[primary]),
                limits,
                reactor,
                report,
            )
        )
    finally:
        report.end()


def _say(context: Context, known: Alias, primary: str, moved: "Moved | None") -> None:
    document: dict[str, Any] = {
        "address": known.address,
        "primary": primary,
        "from": known.primary,
        "moved": moved is not None,
    }
    sentence = f"{bold(known.address)} is served by primary {bold(primary)}."
    if moved is not None:
        document |= {
            "mailbox": moved.mailbox,
            "octets": moved.octets,
            "waiting": moved.waiting,
            "seconds": round(moved.seconds, 3),
            "pause_seconds": round(moved.pause, 3),
        }
        sentence = (
            f"Moved {bold(known.address)} to primary {bold(primary)}: {spoken(moved.octets)} "
            f"in {moved.seconds:.1f} s, held still for {moved.pause:.2f} s."
        )
    context.output.fact(document, sentence)


class _Report:
    """How far a move is."""

    def __init__(self, quiet: bool) -> None:
        self._line = Line(quiet)
        self.end = self._line.end

    def __call__(self, progress: "Progress") -> None:
        done = f"{spoken(progress.octets)} of {spoken(progress.of)}"
        self._line.say(f"{progress.step} {done}")


def _primaries(settings: Settings) -> dict[str, Primary]:
    """Every primary that can be reached from here, by name; the own one by its socket."""
    link = settings.link
    known = dict(link.primaries)
    if "primary" in settings.roles:
        known[link.name] = Primary(endpoint=f"unix:{link.socket}", token_file=link.token_file)
    return known


def run(work: Callable[[Any], Coroutine[Any, Any, "Moved"]]) -> "Moved":
    """Run the reactor until ``work`` has ended; Ctrl-C ends it with Unavailable."""
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    ends: list[Any] = []

    def ended(result: Any) -> None:
        ends.append(result)
        if reactor.running:
            reactor.stop()

    def begin() -> None:
        Deferred.fromCoroutine(work(reactor)).addBoth(ended)

    reactor.callWhenRunning(begin)
    reactor.run()
    if not ends:
        raise Unavailable("interrupted: 'mailsrv mailbox show' tells where the mailbox is")
    if isinstance(ends[0], Failure):
        ends[0].raiseException()
    moved: Moved = ends[0]
    return moved
