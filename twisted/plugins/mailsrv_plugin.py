"""How twistd and twist find the service. Light, because every run of twistd imports it."""

from twisted.application.service import ServiceMaker

mailsrv = ServiceMaker(
    "mailsrv", "mailsrv.service", "Mail server with encrypted mailboxes", "mailsrv"
)
