"""The front door: settings -> roles -> one service, as twistd and twist want it.

This room, and the command line, are the only ones that name the global reactor. Workers import
it too: what only the main process needs is imported where it is used.
"""

from twisted.application.service import IService

from mailsrv.errors import InvalidInput, MailsrvError
from mailsrv.service.options import Options
from mailsrv.service.process import keep_to_ourselves

__all__ = ["Options", "makeService"]


def makeService(options: Options) -> IService:
    """Called by twistd and twist. Whatever stands in the way is one line and exit status 1."""
    from twisted.internet import reactor

    from mailsrv.service.build import build

    keep_to_ourselves()
    try:
        return build(options.settings, reactor)
    except InvalidInput as error:
        raise SystemExit(f"mailsrv: {options.file}: {error}") from None
    except MailsrvError as error:
        raise SystemExit(f"mailsrv: {error}") from None
