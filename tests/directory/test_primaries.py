"""Names of primaries: each belongs to one volume."""

from mailsrv.directory.values import KnownPrimary
from mailsrv.errors import InvalidInput
from tests.directory.databases import DirectoryCase, OnPostgreSQL, OnSQLite
from tests.directory.test_concurrency import in_threads

VOLUMES = [f"{number:032x}" for number in range(6)]


class PrimaryTests(DirectoryCase):
    def test_a_name_belongs_to_the_volume_that_took_it(self) -> None:
        self.assertEqual(self.directory.primaries(), [])
        self.directory.claim_primary("b", VOLUMES[0])
        self.directory.claim_primary("a", VOLUMES[1])
        self.directory.claim_primary("b", VOLUMES[0])
        with self.assertRaises(InvalidInput) as caught:
            self.open().claim_primary("b", VOLUMES[1])
        said = "link.name: primary 'b' of this directory is another data directory: "
        self.assertTrue(str(caught.exception).startswith(said))
        self.directory.claim_primary("b", VOLUMES[0])
        self.assertEqual(
            self.directory.primaries(),
            [KnownPrimary("a", "2026-11-23T10:00:02Z"), KnownPrimary("b", "2026-11-23T10:00:01Z")],
        )
        for name in ("", "B", "two words"):
            self.assertRaises(InvalidInput, self.directory.claim_primary, name, VOLUMES[0])

    def test_a_forgotten_name_is_free(self) -> None:
        self.directory.claim_primary("a", VOLUMES[0])
        self.assertTrue(self.directory.forget_primary("a"))
        self.assertFalse(self.directory.forget_primary("a"))
        self.directory.claim_primary("a", VOLUMES[1])
        self.assertRaises(InvalidInput, self.directory.claim_primary, "a", VOLUMES[0])

    def test_of_several_at_once_one_gets_it(self) -> None:
        for name in ("a", "b", "c", "d"):
            directories = [self.open() for _ in VOLUMES]
            raised = in_threads(
                len(VOLUMES),
                lambda number, name=name, each=directories: each[number].claim_primary(
                    name, VOLUMES[number]
                ),
            )
            self.assertEqual([type(one) for one in raised], [InvalidInput] * (len(VOLUMES) - 1))


class PrimariesOnSQLiteTests(PrimaryTests, OnSQLite):
    pass


class PrimariesOnPostgreSQLTests(PrimaryTests, OnPostgreSQL):
    pass


del PrimaryTests
