"""The vault gives a secret back while it may, and holds it only encrypted."""

import threading

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.errors import KeyGone
from mailsrv.keys.vault import Vault, new_handle


class VaultTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.vault = Vault()
        self.addCleanup(self.vault.close)

    def test_put_and_use(self) -> None:
        handle = self.vault.put(b"secret")
        for _ in range(2):
            with self.vault.use(handle) as secret:
                self.assertEqual(secret, b"secret")
        self.assertNotEqual(self.vault.put(b"secret"), handle)
        self.assertEqual(len(self.vault), 2)

    def test_what_was_shown_is_wiped(self) -> None:
        handle = self.vault.put(b"secret")
        with self.vault.use(handle) as shown:
            pass
        self.assertEqual(shown, b"000000")
        self.assertEqual(self.vault.open(handle), b"secret")

    def test_drop(self) -> None:
        handle = self.vault.put(b"secret")
        self.vault.drop(handle)
        self.vault.drop(handle)
        with self.assertRaises(KeyGone), self.vault.use(handle):
            self.fail("the secret was shown")
        self.assertEqual(len(self.vault), 0)

    def test_unknown_handle(self) -> None:
        with self.assertRaises(KeyGone), self.vault.use("nothing"):
            self.fail("a secret was shown")

    def test_close(self) -> None:
        handle = self.vault.put(b"secret")
        self.vault.close()
        self.vault.close()
        with self.assertRaises(KeyGone), self.vault.use(handle):
            self.fail("the secret was shown")
        with self.assertRaises(KeyGone):
            self.vault.put(b"more")

    def test_kept_only_encrypted(self) -> None:
        secret = b"the quick brown secret of the vault"
        handle = self.vault.put(secret)
        kept = b"".join(self.vault._kept.values())
        self.assertGreater(len(kept), len(secret))
        self.assertNotIn(secret, kept)
        with self.vault.use(handle) as shown:
            self.assertEqual(shown, secret)

    def test_entries_cannot_be_swapped(self) -> None:
        one, two = self.vault.put(b"one"), self.vault.put(b"two")
        kept = self.vault._kept
        kept[one], kept[two] = kept[two], kept[one]
        with self.assertRaises(Exception), self.vault.use(one):  # noqa: B017
            self.fail("another's secret was shown")

    def test_threads(self) -> None:
        failures: list[object] = []

        def work(number: int) -> None:
            for turn in range(200):
                text = f"{number} {turn}".encode()
                handle = self.vault.put(text)
                with self.vault.use(handle) as secret:
                    if secret != text:
                        failures.append((number, turn))
                self.vault.drop(handle)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assertEqual(len(self.vault), 0)

    def test_put_again_under_a_known_handle(self) -> None:
        handle = new_handle()
        self.assertEqual(self.vault.put(b"one", handle), handle)
        self.vault.drop(handle)
        self.vault.put(b"two", handle)
        self.vault.put(b"three", handle)
        with self.vault.use(handle) as secret:
            self.assertEqual(secret, b"three")
        self.assertEqual(len(self.vault), 1)
