"""A folder behaves as every store does, and leaves nothing readable, half or behind."""

from mailsrv.backup.objects.folder import FolderStore
from tests.backup.store_cases import StoreCases


class FolderTests(StoreCases):
    read_limit_in = "mailsrv.backup.objects.folder.READ_LIMIT"

    def make_store(self) -> FolderStore:
        self.root = self.folder.with_name(f"{self.folder.name}-backups")
        return FolderStore(self.root)


del StoreCases
