"""QUOTA (rfc9208): one root, the mailbox, which all its folders share."""

from mailsrv.imap import format as wire_format
from mailsrv.imap.command import AFTER_LOGIN, Capability, Command
from mailsrv.imap.grammar import PARSERS, GetQuota, Mailbox
from mailsrv.imap.reply import Done, No
from mailsrv.imap.session import Session

ROOT = ""
"""The name of the one quota root."""

UNIT = 1024
"""STORAGE counts in units of so many octets (rfc9208:543)."""


async def get_quota(session: Session, argument: GetQuota) -> Done:
    """GETQUOTA (rfc9208:245)."""
    if argument.root != ROOT:
        raise No("There is no such quota root", "NONEXISTENT")
    await _tell_quota(session)
    return Done("GETQUOTA completed")


async def get_quota_root(session: Session, argument: Mailbox) -> Done:
    """GETQUOTAROOT (rfc9208:278); the folder need not exist."""
    session.tell(
        b"QUOTAROOT %b %b" % (wire_format.mailbox(argument.name), wire_format.string(ROOT.encode()))
    )
    await _tell_quota(session)
    return Done("GETQUOTAROOT completed")


async def _tell_quota(session: Session) -> None:
    quota = await session.store.quota(session.door)
    resources = b""
    if quota.limit_octets is not None:
        used = -(-quota.used_octets // UNIT)
        resources = b"STORAGE %d %d" % (used, quota.limit_octets // UNIT)
    session.tell(b"QUOTA %b (%b)" % (wire_format.string(ROOT.encode()), resources))


COMMANDS = (
    Command("GETQUOTA", AFTER_LOGIN, PARSERS["GETQUOTA"], get_quota, ("QUOTA",)),
    Command("GETQUOTAROOT", AFTER_LOGIN, PARSERS["GETQUOTAROOT"], get_quota_root, ("QUOTA",)),
)
CAPABILITIES = (Capability(lambda session: ("QUOTA=RES-STORAGE",) if session.access else ()),)
