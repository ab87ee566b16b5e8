"""How commands reach a mailbox beside the server."""

from datetime import timedelta

from mailsrv.cli.main import Context, now
from mailsrv.store.beside import Beside
from mailsrv.store.volume import Volume


def beside(context: Context) -> Beside:
    """The mailboxes on this machine's volume."""
    settings = context.settings
    return Beside(
        context.directory,
        Volume(settings.base, settings.store.mailboxes),
        now,
        settings.link.name,
        timedelta(days=settings.store.undelete_days),
    )
