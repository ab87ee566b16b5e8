"""Certificates of ``init``, the context of the listeners, and its reload."""

import contextlib
import ssl
from datetime import UTC, datetime
from pathlib import Path

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from mailsrv.errors import InvalidInput
from mailsrv.tls import ServerTls, make_self_signed

NOW = datetime.now(UTC)


def handshake(server: ServerTls, client: ssl.SSLContext, name: str) -> ssl.SSLObject:
    """Let both sides talk in memory until the handshake is done, or the client refuses."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(incoming, outgoing, server_hostname=name)
    theirs = server.serverConnectionForTLS(None)
    theirs.set_accept_state()
    for _ in range(10):
        try:
            ours.do_handshake()
        except ssl.SSLWantReadError:
            done = False
        else:
            done = True
        if outgoing.pending:
            theirs.bio_write(outgoing.read())
        with contextlib.suppress(SSL.WantReadError):
            theirs.do_handshake()
        with contextlib.suppress(SSL.WantReadError):
            incoming.write(theirs.bio_read(65536))
        if done:
            return ours
    raise AssertionError("the handshake does not end")


class ServerTlsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        make_self_signed(self.folder, "mail.example.com", NOW)
        self.client = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))

    def server(self) -> ServerTls:
        return ServerTls(self.folder / "cert.pem", self.folder / "key.pem")

    def test_client_with_the_ca_accepts_the_names(self) -> None:
        for name in ("mail.example.com", "localhost", "127.0.0.1"):
            connection = handshake(self.server(), self.client, name)
            self.assertEqual(connection.version(), "TLSv1.3")

    def test_other_name_and_unknown_ca_are_refused(self) -> None:
        self.assertRaises(
            ssl.SSLCertVerificationError, handshake, self.server(), self.client, "evil.example"
        )
        stranger = ssl.create_default_context()
        self.assertRaises(
            ssl.SSLCertVerificationError, handshake, self.server(), stranger, "localhost"
        )

    def test_post_quantum_key_exchange(self) -> None:
        """X25519MLKEM768 is agreed on with a client of the same OpenSSL."""
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.load_verify_locations(str(self.folder / "ca.pem"))
        ours, theirs = SSL.Connection(context, None), self.server().serverConnectionForTLS(None)
        ours.set_connect_state()
        theirs.set_accept_state()
        for _ in range(4):
            for one, other in ((ours, theirs), (theirs, ours)):
                with contextlib.suppress(SSL.WantReadError):
                    one.do_handshake()
                with contextlib.suppress(SSL.WantReadError):
                    other.bio_write(one.bio_read(65536))
        self.assertEqual(theirs.get_group_name(), "X25519MLKEM768")

    def test_old_protocols_are_refused(self) -> None:
        self.client.maximum_version = ssl.TLSVersion.TLSv1_2
        self.assertEqual(handshake(self.server(), self.client, "localhost").version(), "TLSv1.2")
        self.client.set_ciphers("DEFAULT:@SECLEVEL=0")
        self.client.minimum_version = ssl.TLSVersion.TLSv1
        self.client.maximum_version = ssl.TLSVersion.TLSv1_1
        self.assertRaises(SSL.Error, handshake, self.server(), self.client, "localhost")

    def test_keys_are_private(self) -> None:
        self.assertEqual((self.folder / "key.pem").stat().st_mode & 0o777, 0o600)
        self.assertNotIn(b"PRIVATE", (self.folder / "ca.pem").read_bytes())

    def test_reload(self) -> None:
        server = self.server()
        for name in ("ca.pem", "cert.pem", "key.pem"):
            (self.folder / name).unlink()
        make_self_signed(self.folder, "new.example.com", NOW)
        renewed = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        self.assertRaises(
            ssl.SSLCertVerificationError, handshake, server, renewed, "new.example.com"
        )
        server.reload()
        handshake(server, renewed, "new.example.com")

    def test_failed_reload_keeps_the_former(self) -> None:
        server = self.server()
        (self.folder / "cert.pem").write_text("nothing")
        self.assertRaises(InvalidInput, server.reload)
        handshake(server, self.client, "localhost")

    def test_errors_name_key_and_file(self) -> None:
        (self.folder / "key.pem").write_text("nothing")
        with self.assertRaises(InvalidInput) as caught:
            self.server()
        self.assertIn("tls.private_key", str(caught.exception))
        self.assertIn("key.pem", str(caught.exception))
        with self.assertRaises(InvalidInput) as caught:
            ServerTls(self.folder / "absent.pem", self.folder / "key.pem")
        self.assertIn("tls.certificate", str(caught.exception))
