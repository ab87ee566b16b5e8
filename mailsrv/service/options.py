"""What ``twistd mailsrv`` takes on its command line: the name of the configuration file."""

import os
from pathlib import Path

from twisted.python import usage

from mailsrv import settings as settings_
from mailsrv.errors import MailsrvError

CONFIG_VARIABLE = "MAILSRV_CONFIG"


class Options(usage.Options):
    """What ``twistd mailsrv`` takes. Everything else is in the configuration file."""

    optParameters = [  # noqa: RUF012
        ["config", "c", None, f"The configuration file (or {CONFIG_VARIABLE})."]
    ]
    longdesc = "A mail server whose every mailbox is an encrypted SQLite file."

    settings: settings_.Settings
    file: Path

    def postOptions(self) -> None:
        name = self["config"] or os.environ.get(CONFIG_VARIABLE)
        if not name:
            raise usage.UsageError(f"expected --config FILE or {CONFIG_VARIABLE}")
        self.file = Path(name)
        try:
            self.settings = settings_.load(self.file)
        except MailsrvError as error:
            raise usage.UsageError(str(error)) from None
