"""SCRAM-SHA-256 against the vector of RFC 7677, a client of our own, and clients that cheat."""

import base64
import hashlib
import hmac

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.errors import AuthenticationFailed, InvalidInput
from mailsrv.keys.scram import (
    MAX_MESSAGE,
    ScramFailed,
    ScramServer,
    client_key,
    client_key_from_password,
    recover_client_key,
    salted_password,
    server_signature,
    verifier_from_password,
)

# rfc7677:126
FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
SERVER_NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
NONCE = "rOprNGfwEbeRWgbNEkqO" + SERVER_NONCE
SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
CHALLENGE = f"r={NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".encode()
PROOF = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
FINAL = f"c=biws,r={NONCE},p={PROOF}".encode()
SUCCESS = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def _client_final(password: str, gs2: bytes, first_bare: bytes, challenge: bytes) -> bytes:
    """What an honest client answers, by the formulas of rfc5802:413."""
    fields = dict(part.split("=", 1) for part in challenge.decode().split(","))
    salted = hashlib.pbkdf2_hmac(
        "sha256", password.encode(), base64.b64decode(fields["s"]), int(fields["i"])
    )
    key = hmac.digest(salted, b"Client Key", "sha256")
    without = f"c={base64.b64encode(gs2).decode()},r={fields['r']}".encode()
    message = first_bare + b"," + challenge + b"," + without
    signature = hmac.digest(hashlib.sha256(key).digest(), message, "sha256")
    proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
    return without + b",p=" + base64.b64encode(proof)


class VectorTests(SynchronousTestCase):
    def test_the_exchange_of_the_rfc(self) -> None:
        server = ScramServer(SERVER_NONCE)
        self.assertEqual(server.first(FIRST).username, "user")
        self.assertEqual(server.challenge(SALT, 4096), CHALLENGE)
        message, proof = server.final(FINAL)
        verifier, key = verifier_from_password("pencil", SALT, 4096)
        self.assertEqual(recover_client_key(verifier, message, proof), key)
        self.assertEqual(server.success(server_signature(verifier, message)), SUCCESS)

    def test_key_from_password_is_the_same(self) -> None:
        _, key = verifier_from_password("pencil", SALT, 4096)
        self.assertEqual(client_key(salted_password("pencil", SALT, 4096)), key)
        self.assertEqual(client_key_from_password("pencil", SALT, 4096), key)

    def test_wrong_proofs_reveal_nothing(self) -> None:
        server = ScramServer(SERVER_NONCE)
        server.first(FIRST)
        server.challenge(SALT, 4096)
        message, proof = server.final(FINAL)
        right, _ = verifier_from_password("pencil", SALT, 4096)
        wrong, _ = verifier_from_password("pencils", SALT, 4096)
        self.assertIsNone(recover_client_key(wrong, message, proof))
        self.assertIsNone(recover_client_key(right, message + b"x", proof))
        for damaged in (b"", proof[:-1], proof + b"\0", bytes([proof[0] ^ 1]) + proof[1:]):
            self.assertIsNone(recover_client_key(right, message, damaged))

    def test_impossible_passwords_just_fail(self) -> None:
        for password in ("", "\x07", "x" * 1000, "\ud800"):
            with self.subTest(ascii(password)):
                with self.assertRaises(AuthenticationFailed):
                    client_key_from_password(password, SALT, 1)
                with self.assertRaises(InvalidInput):
                    salted_password(password, SALT, 1)


class ExchangeTests(SynchronousTestCase):
    """Whole exchanges with an honest client."""

    def exchange(self, first: bytes, gs2: bytes, password: str = "pass") -> bytes | None:
        server = ScramServer()
        server.first(first)
        challenge = server.challenge(SALT, 4096)
        message, proof = server.final(_client_final(password, gs2, first[len(gs2) :], challenge))
        verifier, _ = verifier_from_password("pass", SALT, 4096)
        return recover_client_key(verifier, message, proof)

    def test_channel_binding_flags_n_and_y(self) -> None:
        self.assertIsNotNone(self.exchange(b"n,,n=u,r=abc", b"n,,"))
        self.assertIsNotNone(self.exchange(b"y,,n=u,r=abc", b"y,,"))

    def test_wrong_password(self) -> None:
        self.assertIsNone(self.exchange(b"n,,n=u,r=abc", b"n,,", "other"))

    def test_own_authorization_identity(self) -> None:
        first = b"n,a=me@example.com,n=me@example.com,r=abc"
        self.assertIsNotNone(self.exchange(first, b"n,a=me@example.com,"))

    def test_optional_extensions_are_ignored(self) -> None:
        self.assertIsNotNone(self.exchange(b"n,,n=u,r=abc,x=1,y=a=b", b"n,,"))

    def test_nonces_differ(self) -> None:
        nonces = set()
        for _ in range(50):
            server = ScramServer()
            server.first(b"n,,n=u,r=abc")
            nonces.add(server.challenge(SALT, 4096))
        self.assertEqual(len(nonces), 50)


class FirstMessageTests(SynchronousTestCase):
    def reason(self, message: bytes) -> str:
        with self.assertRaises(ScramFailed) as caught:
            ScramServer().first(message)
        self.assertEqual(caught.exception.message(), b"e=" + caught.exception.reason.encode())
        return caught.exception.reason

    def test_user_names(self) -> None:
        for encoded, expected in (
            (b"me@example.com", "me@example.com"),
            (b"a=2Cb=3Dc", "a,b=c"),
            ("한글@example.com".encode(), "한글@example.com"),
            ("I\u00adX".encode(), "IX"),
            (b"=3D2C", "=2C"),
        ):
            with self.subTest(encoded):
                got = ScramServer().first(b"n,,n=" + encoded + b",r=abc")
                self.assertEqual(got.username, expected)

    def test_bad_user_names(self) -> None:
        for encoded in (b"", b"a=b", b"a=2cb", b"=", b"a=3", b"\x07", "\u00ad".encode(), b"a\0b"):
            with self.subTest(encoded):
                self.assertEqual(
                    self.reason(b"n,,n=" + encoded + b",r=abc"), "invalid-username-encoding"
                )

    def test_channel_binding_is_refused(self) -> None:
        for flag in (b"p=tls-unique", b"p=tls-server-end-point", b"p=tls-exporter"):
            with self.subTest(flag):
                self.assertEqual(
                    self.reason(flag + b",,n=u,r=abc"), "channel-binding-not-supported"
                )

    def test_another_identity_is_refused(self) -> None:
        self.assertEqual(self.reason(b"n,a=root,n=user,r=abc"), "other-error")

    def test_mandatory_extensions_are_refused(self) -> None:
        self.assertEqual(self.reason(b"n,,m=x,n=u,r=abc"), "extensions-not-supported")
        self.assertEqual(self.reason(b"n,,n=u,r=abc,m=x"), "extensions-not-supported")

    def test_malformed(self) -> None:
        for message in (
            b"",
            b"n",
            b"n,",
            b"n,,",
            b"N,,n=u,r=abc",
            b"x,,n=u,r=abc",
            b"p=,,n=u,r=abc",
            b"n,u,n=u,r=abc",
            b"n,,n=u",
            b"n,,r=abc,n=u",
            b"n,,n=u,r=",
            b"n,,n=u,r=a\x80c",
            b"n,,n=u,r=a c",
            b"n,,n=u,r=abc,",
            b"n,,n=u,r=abc,x",
            b"n,,n=u,r=abc,1=x",
            b"n,,n=\xff,r=abc",
        ):
            with self.subTest(message):
                self.assertEqual(self.reason(message), "invalid-encoding")

    def test_length_is_capped(self) -> None:
        self.assertEqual(self.reason(b"n,,n=u,r=" + b"x" * MAX_MESSAGE), "no-resources")

    @settings(max_examples=200, deadline=None)
    @given(
        st.binary(max_size=80) | st.text(alphabet="npy,=amr2C3D\0é", max_size=30).map(str.encode)
    )
    def test_anything_is_read_or_refused(self, message: bytes) -> None:
        try:
            got = ScramServer().first(message)
        except ScramFailed:
            return
        self.assertTrue(got.username)
        self.assertTrue(message.startswith((b"n,", b"y,")))


class FinalMessageTests(SynchronousTestCase):
    def reason(self, message: bytes, first: bytes = FIRST) -> str:
        server = ScramServer(SERVER_NONCE)
        server.first(first)
        server.challenge(SALT, 4096)
        with self.assertRaises(ScramFailed) as caught:
            server.final(message)
        return caught.exception.reason

    def test_changed_gs2_header(self) -> None:
        # the man in the middle who removed -PLUS from the list shows here
        for channel in (b"eSws", b"cD10bHMtdW5pcXVlLCw=", b"", b"biw=", b"biws "):
            with self.subTest(channel):
                self.assertEqual(
                    self.reason(FINAL.replace(b"biws", channel)), "channel-bindings-dont-match"
                )
        self.assertEqual(
            self.reason(FINAL, FIRST.replace(b"n,,", b"y,,")), "channel-bindings-dont-match"
        )

    def test_changed_nonce(self) -> None:
        for nonce in (NONCE[:-1], NONCE + "x", "", NONCE[20:], NONCE.swapcase()):
            with self.subTest(nonce):
                message = FINAL.replace(NONCE.encode(), nonce.encode())
                self.assertEqual(self.reason(message), "other-error")

    def test_proofs_that_are_not_canonical(self) -> None:
        for proof in (
            "",
            "AAAA",
            PROOF[:-1],
            PROOF[:-2] + "R=",
            PROOF + "AAAA",
            " " + PROOF,
            PROOF[:-2] + "é=",
        ):
            with self.subTest(proof):
                message = FINAL.replace(PROOF.encode(), proof.encode())
                self.assertEqual(self.reason(message), "invalid-encoding")

    def test_malformed(self) -> None:
        for message in (b"", b"p=" + PROOF.encode(), b"c=biws,p=" + PROOF.encode(), b"c=biws"):
            with self.subTest(message):
                self.assertEqual(self.reason(message), "invalid-encoding")

    def test_mandatory_extension(self) -> None:
        message = FINAL.replace(b",p=", b",m=x,p=")
        self.assertEqual(self.reason(message), "extensions-not-supported")

    def test_order_is_kept(self) -> None:
        with self.assertRaises(RuntimeError):
            ScramServer().challenge(SALT, 4096)
        server = ScramServer()
        with self.assertRaises(RuntimeError):
            server.final(FINAL)
        server.first(FIRST)
        with self.assertRaises(RuntimeError):
            server.final(FINAL)
