from twisted.application.service import ServiceMaker

mailsrv = ServiceMaker(
    "mailsrv", "mailsrv.service", "Mail server with encrypted mailboxes", "mailsrv"
)
