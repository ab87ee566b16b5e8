"""Kill a process at one line after another of a backup, then look at what is left.

``python -m tests.backup.crashes BASE STRIDE`` goes on as ``tests.store.crashes`` does: a child for
every STRIDE-th line that runs of the backup, which dies there as by kill -9.
"""

import itertools
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from mailsrv.backup.copies import fetch_copy, list_copies
from mailsrv.backup.daily import Daily
from mailsrv.backup.layout import copies_of
from mailsrv.backup.objects.folder import FolderStore
from mailsrv.keys.filekey import FileKey
from mailsrv.mailbox import snapshot
from mailsrv.mailbox.mailbox import Mailbox
from mailsrv.mailbox.values import NewMessage
from mailsrv.settings import Backup
from mailsrv.store.authentication import Authentication
from mailsrv.store.secret import ServerSecret
from tests.store.crashes import ADDRESS, Scene, forked
from tests.store.world import World, now

MODULES = (
    "mailsrv.backup.daily",
    "mailsrv.backup.copies",
    "mailsrv.backup.objects.folder",
    "mailsrv.backup.objects.files",
    "mailsrv.directory.backups",
    "mailsrv.mailbox.snapshot",
    "mailsrv.store.volume",
)


class Stores:
    def __init__(self, base: Path) -> None:
        self.default = FolderStore(base / "backups")

    def of(self, _alias: object) -> FolderStore:
        return self.default

    def everywhere(self, _alias: object) -> list[FolderStore]:
        return [self.default]


class Rounds:
    def __init__(self, base: Path) -> None:
        self.base = base
        self.scene = Scene(base)
        self.good: str | None = None
        """When the last copy was made that must be there."""

    def daily(self, world: World) -> Daily:
        # few: a round must not take more steps than the one before
        backup = Backup(keep_last=2, keep_daily=0, keep_weekly=0)
        return Daily(world.directory, world.volume, Stores(self.base), backup, now)

    def opened(self, world: World) -> tuple[Mailbox, FileKey]:
        secret = ServerSecret(world.volume.server_key())
        found = Authentication(world.directory, secret).with_password(
            ADDRESS, self.scene.password, "imap"
        )
        return Mailbox.open(world.volume.mailbox(found.mailbox), found.key, now), found.key

    def back_up(self, world: World) -> Any:
        daily = self.daily(world)
        daily.prepare()
        turn = daily.begin(self.scene.alias)
        try:
            mailbox, key = self.opened(world)
            with mailbox:
                turn.copy(mailbox, key)
            outcome = turn.keep()
            turn.prune()
        finally:
            turn.end()
        return outcome

    def add_message(self) -> None:
        with self.scene.world() as world:
            mailbox, _ = self.opened(world)
            with mailbox:
                mailbox.append("INBOX", [NewMessage(self.scene.name().encode())], None)

    def round(self, fatal: int) -> bool:
        """Whether the child died."""
        self.add_message()
        died = forked(self.scene, MODULES, fatal)(self.back_up)
        with self.scene.world() as world:
            self.check(world)
            outcome = self.back_up(world)
            self.check(world)
            if died:
                copies = list_copies(Stores(self.base).default, self.scene.alias)
                assert copies[-1].taken == outcome.taken, "the last attempt is not the newest"
            assert world.directory.backup(self.scene.alias).taken == outcome.taken
            self.good = outcome.taken
        return died

    def check(self, world: World) -> None:
        """Whatever has a manifest is whole, and nothing that was kept has gone."""
        daily, store = self.daily(world), Stores(self.base).default
        daily.prepare()
        assert not list(daily.folder.iterdir()), "something was left on its way"
        store.tidy(now() + timedelta(days=1))
        copies = list_copies(store, self.scene.alias)
        taken = [one.taken for one in copies]
        assert self.good is None or self.good in taken, "a backup has gone"
        parts = [one.name for one in store.list(copies_of(self.scene.alias))]
        files = [path for path in (self.base / "backups").rglob("*") if path.is_file()]
        assert len(parts) == len(files), "parts of a transfer were left"
        with tempfile.TemporaryDirectory(dir=self.base) as folder:
            for manifest in copies:
                path = Path(folder) / manifest.taken
                fetch_copy(store, manifest, path)
                mailbox, key = self.opened(world)
                mailbox.close()
                assert snapshot.verify(path, key).digest.hex() == manifest.digest


def main(base: str, stride: str) -> None:
    rounds = Rounds(Path(base))
    deaths = 0
    for fatal in itertools.count(1, int(stride)):
        if not rounds.round(fatal):
            break
        deaths += 1
    print(deaths)


if __name__ == "__main__":
    main(*sys.argv[1:])
