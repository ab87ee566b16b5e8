"""TLS for the listeners: the context, its reload, and the self-signed certificate of ``init``.

The key exchange of TLS 1.3 is X25519MLKEM768 where the client knows it (OpenSSL's default
since 3.5). Certificates are read again on SIGHUP without a restart: connections that
begin after that see the new ones. Serves rfc8314 and, for STARTTLS, rfc3207 and rfc9051.
"""

import ipaddress
import os
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from mailsrv.errors import InvalidInput

VALID_DAYS = 825
"""Of the self-signed certificate; some clients refuse more."""


@implementer(IOpenSSLServerConnectionCreator)
class ServerTls:
    """Makes a TLS connection for each client from a context that can be replaced.

    ``oldest`` is the oldest version of TLS that is spoken.

    :raises InvalidInput: naming the file, when certificate or key cannot be used.
    """

    def __init__(
        self, certificate: Path, private_key: Path, oldest: int = SSL.TLS1_2_VERSION
    ) -> None:
        self._certificate = certificate
        self._private_key = private_key
        self._oldest = oldest
        self._context = self._load()

    def reload(self) -> None:
        """Read the files again; on an error the former certificate stays in use."""
        self._context = self._load()

    def serverConnectionForTLS(self, _protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        return SSL.Connection(self._context, None)

    def _load(self) -> SSL.Context:
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(self._oldest)
        context.set_options(
            SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE
        )
        context.set_cipher_list(b"ECDHE+AESGCM:ECDHE+CHACHA20")
        try:
            context.use_certificate_chain_file(str(self._certificate))
        except SSL.Error:
            raise InvalidInput(
                f"tls.certificate: expected a PEM certificate in {self._certificate}"
            ) from None
        try:
            context.use_privatekey_file(str(self._private_key))
            context.check_privatekey()
        except SSL.Error:
            raise InvalidInput(
                f"tls.private_key: expected the certificate's PEM key in {self._private_key}"
            ) from None
        return context


def make_self_signed(folder: Path, hostname: str, now: datetime) -> None:
    """Write ``ca.pem`` (for clients), ``cert.pem`` and ``key.pem`` into ``folder``.

    The CA's own key is not kept: it signs this one certificate and is gone.
    """
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"mailsrv CA of {hostname}"[:64])])
    ends = now + timedelta(days=VALID_DAYS)
    ca = (
        _certificate(ca_name, ca_name, ca_key.public_key(), now, ends)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:64])])
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    certificate = (
        _certificate(name, ca_name, key.public_key(), now, ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(_names(hostname)), critical=False)
        .add_extension(authority, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    pem = serialization.Encoding.PEM
    ca_pem = ca.public_bytes(pem)
    _write(folder / "ca.pem", ca_pem, 0o644)
    _write(folder / "cert.pem", certificate.public_bytes(pem) + ca_pem, 0o644)
    plain = serialization.NoEncryption()
    pkcs8 = serialization.PrivateFormat.PKCS8
    _write(folder / "key.pem", key.private_bytes(pem, pkcs8, plain), 0o600)


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    begins: datetime,
    ends: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins - timedelta(hours=1))
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _names(hostname: str) -> list[x509.GeneralName]:
    """The host name, and what a client on this machine calls it."""
    names: list[x509.GeneralName] = [x509.DNSName(hostname)]
    if hostname != "localhost":
        names.append(x509.DNSName("localhost"))
    return [
        *names,
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("::1")),
    ]


def _write(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
