"""Making and changing folders: CREATE, DELETE, RENAME, SUBSCRIBE (rfc3501, 6.3), NAMESPACE
(rfc2342) and CREATE-SPECIAL-USE (rfc6154)."""

from mailsrv.errors import InvalidInput
from mailsrv.imap.command import AFTER_LOGIN, Capability, Command, nothing
from mailsrv.imap.grammar import PARSERS, Create, Mailbox, Rename
from mailsrv.imap.names import DELIMITER
from mailsrv.imap.reply import Done, No
from mailsrv.imap.session import Session

SPECIAL_USES = {
    name.lower(): name for name in ("\\Archive", "\\Drafts", "\\Junk", "\\Sent", "\\Trash")
}
"""Uses that a folder can be made for; \\All and \\Flagged would be views (rfc6154, 2)."""


async def create(session: Session, argument: Create) -> Done:
    """CREATE (rfc3501:1888); a delimiter at the end announces children and adds nothing."""
    name = argument.mailbox.removesuffix(DELIMITER)
    use = _use(argument.special_use)
    try:
        await session.store.create_folder(session.door, name, use, None)
    except InvalidInput:
        if use is None:
            raise
        raise No("No folder can be made for that use", "USEATTR") from None
    return Done("CREATE completed")


def _use(uses: tuple[str, ...]) -> str | None:
    if not uses:
        return None
    if len(uses) > 1 or uses[0].lower() not in SPECIAL_USES:
        raise No("A folder has one of the known uses, or none", "USEATTR")
    return SPECIAL_USES[uses[0].lower()]


async def delete(session: Session, argument: Mailbox) -> Done:
    """DELETE (rfc3501:1946). A session that deletes the folder it selected lets go of it."""
    await session.store.delete_folder(session.door, argument.name, None)
    if session.selected is not None:
        folders = await session.store.folders(session.door)
        if session.selected.id not in {folder.id for folder in folders}:
            session.selected = None
            session.tell(b"OK [CLOSED] The selected folder is deleted")
    return Done("DELETE completed")


async def rename(session: Session, argument: Rename) -> Done:
    """RENAME (rfc3501:2040); children come along."""
    new = argument.new.removesuffix(DELIMITER)
    await session.store.rename_folder(session.door, argument.old, new, None)
    return Done("RENAME completed")


async def subscribe(session: Session, argument: Mailbox) -> Done:
    """SUBSCRIBE (rfc3501:2135)."""
    await session.store.subscribe(session.door, argument.name, True, None)
    return Done("SUBSCRIBE completed")


async def unsubscribe(session: Session, argument: Mailbox) -> Done:
    """UNSUBSCRIBE (rfc3501:2166)."""
    await session.store.subscribe(session.door, argument.name, False, None)
    return Done("UNSUBSCRIBE completed")


async def namespace(session: Session, _argument: None) -> Done:
    """NAMESPACE (rfc2342:137): one's own folders, and nobody else's."""
    session.tell(b'NAMESPACE (("" "%b")) NIL NIL' % DELIMITER.encode("ascii"))
    return Done("NAMESPACE completed")


COMMANDS = (
    Command("CREATE", AFTER_LOGIN, PARSERS["CREATE"], create),
    Command("DELETE", AFTER_LOGIN, PARSERS["DELETE"], delete),
    Command("RENAME", AFTER_LOGIN, PARSERS["RENAME"], rename),
    Command("SUBSCRIBE", AFTER_LOGIN, PARSERS["SUBSCRIBE"], subscribe),
    Command("UNSUBSCRIBE", AFTER_LOGIN, PARSERS["UNSUBSCRIBE"], unsubscribe),
    Command("NAMESPACE", AFTER_LOGIN, nothing, namespace, ("NAMESPACE",)),
)
CAPABILITIES = (Capability(lambda session: ("CREATE-SPECIAL-USE",) if session.access else ()),)
