"""``mailsrv backup``: copies of mailboxes, and where they are kept."""

from mailsrv.cli.main import main


@main.group()
def backup() -> None:
    """Backups of mailboxes."""
