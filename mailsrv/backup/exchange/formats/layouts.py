"""How an export of each format lies in its directory: where folders are, who writes them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from mailsrv.backup.exchange.formats import eml, maildir, mbox
from mailsrv.backup.exchange.formats.index import Format
from mailsrv.backup.exchange.formats.paths import paths
from mailsrv.backup.exchange.formats.values import FolderWriter, Position
from mailsrv.errors import BackupDamaged


class Layout(NamedTuple):
    """A folder's *path* is its directories joined by "/", and "" is the export's own."""

    paths: Callable[[Sequence[str]], dict[str, str]]
    """For each folder's name its path."""
    writer: Callable[[Path, str, Position], FolderWriter]
    remove: Callable[[Path, str], None]


def levels_of(path: str) -> tuple[str, ...]:
    """The directories of a path. BackupDamaged for one that leads elsewhere."""
    levels = tuple(path.split("/")) if path else ()
    if any(level in ("", ".", "..") or "\0" in level for level in levels):
        raise BackupDamaged("the manifest names a path outside of the export")
    return levels


def _tree_paths(names: Sequence[str]) -> dict[str, str]:
    return {name: "/".join(levels) for name, levels in paths(names).items()}


def _maildir_paths(names: Sequence[str]) -> dict[str, str]:
    return maildir.directory_names(list(names))


LAYOUTS: dict[Format, Layout] = {
    "mbox": Layout(
        _tree_paths,
        lambda root, path, position: mbox.MboxWriter(root, levels_of(path), position),
        lambda root, path: mbox.remove_mbox(root, levels_of(path)),
    ),
    "maildir": Layout(_maildir_paths, maildir.MaildirWriter, maildir.remove_maildir),
    "eml": Layout(
        _tree_paths,
        lambda root, path, position: eml.EmlWriter(root, levels_of(path), position),
        lambda root, path: eml.remove_eml(root, levels_of(path)),
    ),
}
