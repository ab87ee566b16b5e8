"""A credential opens its file by password or SCRAM proof, and gives away nothing else."""

import hashlib
import hmac
import io
from datetime import UTC, datetime, timedelta, timezone

import msgspec
from rich.console import Console
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.errors import SealBroken
from mailsrv.keys.credential import (
    Credential,
    make_credential,
    match_client_key,
    match_proof,
    reseal,
    unlock,
)
from mailsrv.keys.filekey import FileKey
from mailsrv.keys.objectid import object_id
from mailsrv.keys.scram import client_key_from_password
from mailsrv.keys.vault import Vault

ALIAS = "a" * 24
SALT = bytes(range(16))
KEY = FileKey(raw=bytes(range(32)), salt=bytes(range(16)))
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=timezone(timedelta(hours=2)))


def _make(password: str, label: str = "main") -> Credential:
    return make_credential(
        password,
        salt=SALT,
        iterations=4096,
        file_key=KEY,
        alias=ALIAS,
        label=label,
        scopes=("imap", "smtp"),
        main=label == "main",
        now=NOW,
    )


class CredentialTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.credential = _make("main password")
        self.key = client_key_from_password("main password", SALT, 4096)

    def test_password_opens(self) -> None:
        self.assertEqual(unlock(self.credential, self.key, ALIAS), KEY)
        self.assertEqual(self.credential.created, "2026-11-23T10:00:00Z")

    def test_wrong_password_or_alias(self) -> None:
        wrong = client_key_from_password("other password", SALT, 4096)
        with self.assertRaises(SealBroken):
            unlock(self.credential, wrong, ALIAS)
        with self.assertRaises(SealBroken):
            unlock(self.credential, self.key, "b" * 24)

    def test_parts_of_two_credentials_do_not_mix(self) -> None:
        other = _make("main password")
        for field in ("id", "wrapped_private_key", "sealed_file_key"):
            mixed = msgspec.structs.replace(self.credential, **{field: getattr(other, field)})
            with self.subTest(field), self.assertRaises(SealBroken):
                unlock(mixed, self.key, ALIAS)

    def test_damaged(self) -> None:
        for field in ("wrapped_private_key", "sealed_file_key"):
            for damaged in (b"", b"short", getattr(self.credential, field)[:-1]):
                mixed = msgspec.structs.replace(self.credential, **{field: damaged})
                with self.subTest(field), self.assertRaises(SealBroken):
                    unlock(mixed, self.key, ALIAS)

    def test_reseal_needs_no_password(self) -> None:
        new = FileKey(raw=bytes(32), salt=bytes(16))
        changed = reseal(self.credential, new, ALIAS)
        self.assertEqual(unlock(changed, self.key, ALIAS), new)
        self.assertEqual(unlock(self.credential, self.key, ALIAS), KEY)
        self.assertEqual(changed.verifier, self.credential.verifier)

    def test_matching(self) -> None:
        phone = _make("phone password", "phone")
        both = [self.credential, phone]
        key = client_key_from_password("phone password", SALT, 4096)
        self.assertEqual(match_client_key(both, key), phone)
        self.assertIsNone(match_client_key([self.credential], key))
        self.assertIsNone(match_client_key([], key))
        message = b"auth message"
        signature = hmac.digest(hashlib.sha256(key).digest(), message, "sha256")
        proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
        self.assertEqual(match_proof(both, message, proof), (phone, key))
        self.assertIsNone(match_proof([self.credential], message, proof))
        self.assertIsNone(match_proof(both, b"other", proof))


class ReprTests(SynchronousTestCase):
    """Nothing that prints shows a secret."""

    def shown(self, value: object) -> str:
        out = io.StringIO()
        Console(file=out, width=500).print(value)
        return "".join((repr(value), str(value), f"{value}", repr([value]), out.getvalue()))

    def test_secrets_are_hidden(self) -> None:
        credential = _make("main password")
        vault = Vault()
        self.addCleanup(vault.close)
        vault.put(KEY.pack())
        secrets = [
            KEY.raw,
            KEY.salt,
            credential.verifier.stored_key,
            credential.verifier.server_key,
            credential.wrapped_private_key,
            credential.sealed_file_key,
        ]
        for value in (KEY, credential, credential.verifier, vault):
            text = self.shown(value)
            for secret in secrets:
                self.assertNotIn(repr(secret)[2:12], text)
                self.assertNotIn(secret.hex()[:10], text)
        self.assertIn("label='main'", repr(credential))


class ObjectIdTests(SynchronousTestCase):
    def test_shape(self) -> None:
        moment = datetime(2026, 1, 1, tzinfo=UTC)
        made = {object_id(moment) for _ in range(100)}
        self.assertEqual(len(made), 100)
        for one in made:
            self.assertRegex(one, r"\A[0-9a-f]{24}\Z")
            self.assertEqual(int(one[:8], 16), int(moment.timestamp()))
