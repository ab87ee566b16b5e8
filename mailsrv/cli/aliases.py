"""``mailsrv alias``: the addresses, each with a mailbox of its own."""

import click

from mailsrv.cli.main import Context, main
from mailsrv.cli.output import bold, plain
from mailsrv.cli.sizes import Size, spoken


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
    made = context.directory.add_alias(
        address, quota=quota, primary=primary or context.settings.link.name
    )
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
                "enabled": known.enabled,
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


def _set_enabled(context: Context, address: str, *, enabled: bool) -> None:
    known = context.directory.alias(address)
    context.directory.set_alias_enabled(known.id, enabled)
    word = "Enabled" if enabled else "Disabled"
    context.output.fact(
        {"address": known.address, "enabled": enabled}, f"{word} {bold(known.address)}."
    )
