"""``mailsrv domain``: the domains that mail is taken for."""

import click

from mailsrv.cli.main import Context, main
from mailsrv.cli.output import bold
from mailsrv.cli.sizes import Size, spoken


@main.group()
def domain() -> None:
    """Domains that this server takes mail for."""


@domain.command("add")
@click.argument("name")
@click.option("--quota", type=Size(), help="Most that all mailboxes of the domain may hold.")
@click.pass_obj
def add(context: Context, name: str, quota: int | None) -> None:
    """Take mail for the domain NAME."""
    made = context.directory.add_domain(name, quota=quota)
    context.output.fact(
        {"name": made.name, "quota": made.quota},
        f"Added {bold(made.name)}. Next: mailsrv alias add hello@{made.name}",
    )


@domain.command("list")
@click.pass_obj
def list_(context: Context) -> None:
    """All domains."""
    size = (lambda octets: octets) if context.output.as_json else spoken
    rows = [
        {"name": known.name, "quota": size(known.quota)} for known in context.directory.domains()
    ]
    context.output.rows(rows, ("name", "quota"), "No domains yet: mailsrv domain add example.com")
