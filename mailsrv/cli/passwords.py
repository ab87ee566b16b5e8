"""``mailsrv password`` and ``mailsrv credential``: what opens a mailbox, made and revoked.

Passwords come from the terminal without echo, or from standard input a line each: first the
old one where it is asked for, then the new one with ``--stdin``. They are never arguments,
which other users of the machine could read.
"""

import sys

import click

from mailsrv.cli.main import Context, main, now
from mailsrv.cli.output import bold, plain
from mailsrv.errors import InvalidInput
from mailsrv.store.lifecycle import Lifecycle, PasswordChanged
from mailsrv.store.values import ALL_SCOPES, Scope
from mailsrv.store.volume import Volume


def lifecycle(context: Context) -> Lifecycle:
    settings = context.settings
    volume = Volume(settings.base, settings.store.mailboxes)
    return Lifecycle(context.directory, volume, now, settings.link.name)


@main.command()
@click.argument("address")
@click.option("--stdin", is_flag=True, help="Take a password of your own from standard input.")
@click.option("--label", help="Make an app password under this label.")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(ALL_SCOPES),
    multiple=True,
    help="What the app password may be used for; may be repeated. Default: all.",
)
@click.option(
    "--start-over",
    is_flag=True,
    help="Archive the mailbox and begin an empty one: needs no password.",
)
@click.pass_obj
def password(
    context: Context,
    address: str,
    stdin: bool,
    label: str | None,
    scopes: tuple[Scope, ...],
    start_over: bool,
) -> None:
    """Generate the password of ADDRESS and show it, this once.

    Where one exists the old one is asked for; without it only --start-over remains.
    """
    if label is not None and (stdin or start_over):
        raise click.UsageError("expected --label alone: app passwords are always generated")
    if scopes and label is None:
        raise click.UsageError("expected --label with --scope")
    if label is not None:
        _add_app_password(context, address, label, scopes or ALL_SCOPES)
    else:
        _set_main_password(context, address, stdin=stdin, start_over=start_over)


def _add_app_password(
    context: Context, address: str, label: str, scopes: tuple[Scope, ...]
) -> None:
    known = context.directory.alias(address)
    main_password = ask(f"Main password of {known.address}")
    made = lifecycle(context).add_app_password(known.address, main_password, label, scopes)
    document = {"address": known.address, "label": label, "scopes": scopes, "password": made}
    context.output.fact(
        document,
        f"App password {bold(label)} of {plain(known.address)}, shown this once:\n\n  {made}\n",
    )


def _set_main_password(context: Context, address: str, *, stdin: bool, start_over: bool) -> None:
    address = context.directory.alias(address).address
    exists = context.directory.mailbox(context.directory.alias(address).id) is not None

    def reveal(changed: PasswordChanged) -> None:
        _show(context, address, changed, chosen=stdin)

    if exists and not start_over:
        old = ask(f"Old password of {address}")
        lifecycle(context).change_password(address, old, _chosen(stdin), reveal)
    elif start_over:
        lifecycle(context).start_over(address, _chosen(stdin), reveal)
    else:
        lifecycle(context).set_first_password(address, _chosen(stdin), reveal)


def _show(context: Context, address: str, changed: PasswordChanged, *, chosen: bool) -> None:
    """Said just before the change takes effect, which exit status 0 confirms."""
    document: dict[str, object] = {"address": address, "password": changed.password}
    sentence = f"Password of {bold(address)}, shown this once:\n\n  {changed.password}\n"
    if chosen:
        sentence = f"Setting the password of {bold(address)}."
    if changed.dropped:
        document["dropped"] = changed.dropped
        sentence += f"\nApp passwords that go with this change: {plain(', '.join(changed.dropped))}"
    context.output.fact(document, sentence)
    sys.stdout.flush()


def ask(prompt: str) -> str:
    """A secret, from the terminal without echo or as a line of standard input."""
    if sys.stdin.isatty():
        answer: str = click.prompt(prompt, hide_input=True, err=True)
        return answer
    return _line(prompt)


def _chosen(stdin: bool) -> str | None:
    if not stdin:
        return None
    if sys.stdin.isatty():
        answer: str = click.prompt(
            "New password", hide_input=True, confirmation_prompt=True, err=True
        )
        return answer
    return _line("New password")


def _line(what: str) -> str:
    try:
        line = sys.stdin.readline(4096)
    except UnicodeDecodeError:
        raise InvalidInput(f"{what}: expected text in UTF-8 on standard input") from None
    if not line.rstrip("\r\n"):
        raise InvalidInput(f"{what}: expected a line on standard input")
    return line.rstrip("\r\n")


@main.group()
def credential() -> None:
    """Passwords of an alias: which there are, and revoking them."""


@credential.command("list")
@click.argument("address")
@click.pass_obj
def list_(context: Context, address: str) -> None:
    """The main password and the app passwords of ADDRESS; never the passwords themselves."""
    rows = [
        {
            "label": one.label,
            "main": one.main,
            "scopes": one.scopes,
            "created": one.created,
            "last_used": context.directory.last_used(one.id),
        }
        for one in lifecycle(context).credentials(address)
    ]
    columns = ("label", "main", "scopes", "created", "last_used")
    context.output.rows(rows, columns, f"No password yet: mailsrv password {plain(address)}")


@credential.command("revoke")
@click.argument("address")
@click.argument("label")
@click.pass_obj
def revoke(context: Context, address: str, label: str) -> None:
    """End the app password LABEL of ADDRESS, and the sessions that use it."""
    known = [
        one
        for one in lifecycle(context).credentials(address)
        if one.label == label.strip() and not one.main
    ]
    if not known:
        raise InvalidInput(f"{address} has no app password {label!r}")
    for one in known:
        lifecycle(context).revoke_credential(address, one.id)
    context.output.fact(
        {"address": address, "label": label, "revoked": len(known)},
        f"Revoked {bold(label)} of {plain(address)}.",
    )
