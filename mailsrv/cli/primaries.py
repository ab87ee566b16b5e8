"""``mailsrv primary``: who serves mailboxes from this directory."""

import click

from mailsrv.cli.main import Context, main
from mailsrv.cli.output import bold
from mailsrv.errors import InvalidInput


@main.group()
def primary() -> None:
    """Primaries: the names under which data directories have been served."""


@primary.command("list")
@click.pass_obj
def list_(context: Context) -> None:
    """All that have started with this directory, and when each did so first."""
    rows = [{"primary": one.name, "since": one.created} for one in context.directory.primaries()]
    context.output.rows(rows, ("primary", "since"), "No primary has started yet.")


@primary.command("forget")
@click.argument("name")
@click.pass_obj
def forget(context: Context, name: str) -> None:
    """Let another data directory take over NAME, because that of NAME is lost.

    Mailboxes stay where they are known to be: the new one needs their files, or answers that they
    are missing. Mail that waited sealed under the lost server.key is lost with it.
    """
    if not context.directory.forget_primary(name):
        known = ", ".join(one.name for one in context.directory.primaries()) or "none"
        raise InvalidInput(f"primary: expected one of {known}, got {name}")
    context.output.fact(
        {"primary": name, "forgotten": True},
        f"The next data directory that starts as {bold(name)} is primary {bold(name)}.",
    )
