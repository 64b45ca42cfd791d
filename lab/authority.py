"""The lab's own Apple: a root CA, the APNs stand-in's TLS certificate and an MDM push certificate.

Devices' identities are not issued here: they come from the product's CA, over SCEP (`lab.scep`).
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import ssl
import uuid
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab.errors import AuthorityError

TOPIC_PREFIX = "com.apple.mgmt.External."
# Marks Apple's certificates for production push.
PRODUCTION_PUSH_OID = x509.ObjectIdentifier("1.2.840.113635.100.6.3.2")
RENEW_BEFORE = dt.timedelta(days=30)


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, as PEM files."""

    certificate: Path
    key: Path

    def load(self) -> tuple[x509.Certificate, rsa.RSAPrivateKey]:
        certificate = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        key = load_pem_private_key(self.key.read_bytes(), password=None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise AuthorityError(f"{self.key.name} holds no RSA key.")
        return certificate, key


@dataclass(frozen=True)
class Authority:
    """The files under `folder`; all of them exist once `ensure_authority` has returned it."""

    folder: Path

    @property
    def root(self) -> Pair:
        return Pair(self.folder / "root.pem", self.folder / "root.key")

    @property
    def apns(self) -> Pair:
        return Pair(self.folder / "apns.pem", self.folder / "apns.key")

    @property
    def push(self) -> Pair:
        return Pair(self.folder / "push.pem", self.folder / "push.key")

    @property
    def certification(self) -> Pair:
        """The CA above the device CA."""
        return Pair(self.folder / "certification.pem", self.folder / "certification.key")

    @property
    def device_ca(self) -> Pair:
        """The CA that gives devices their certificate in the factory."""
        return Pair(self.folder / "device-ca.pem", self.folder / "device-ca.key")

    def issue_device_certificate(
        self, udid: str, key: rsa.RSAPrivateKey
    ) -> tuple[x509.Certificate, list[x509.Certificate]]:
        """A device's certificate and the chain above it, up to the root."""
        issuer, issuer_key = self.device_ca.load()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, udid)])
        now = dt.datetime.now(dt.UTC).replace(microsecond=0)
        builder = _builder(
            subject, issuer.subject, key, now - dt.timedelta(days=1), now + dt.timedelta(days=365)
        ).add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        leaf = builder.sign(issuer_key, hashes.SHA256())
        return leaf, [issuer, self.certification.load()[0], self.root.load()[0]]

    def issue_foreign_certificate(
        self, udid: str, key: rsa.RSAPrivateKey
    ) -> tuple[x509.Certificate, list[x509.Certificate]]:
        """The same by a CA that only says that it is Apple's."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Apple iPhone Device CA")])
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, udid)])
        now = dt.datetime.now(dt.UTC).replace(microsecond=0)
        began, ends = now - dt.timedelta(days=1), now + dt.timedelta(days=365)
        own_key = _new_key()
        own = _builder(name, name, own_key, began, ends).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        leaf = _builder(subject, name, key, began, ends).add_extension(
            x509.BasicConstraints(ca=False, path_length=None), critical=True
        )
        return leaf.sign(own_key, hashes.SHA256()), [own.sign(own_key, hashes.SHA256())]

    @property
    def topic(self) -> str:
        certificate, _ = self.push.load()
        topic = topic_of(certificate)
        if topic is None:
            raise AuthorityError("The lab's push certificate has no UID.")
        return topic

    def server_context(self) -> ssl.SSLContext:
        """TLS as the APNs stand-in speaks it: HTTP/2, client certificates of this root asked for
        but not required, since APNs itself answers a client without one by a 403."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.apns.certificate, self.apns.key)
        context.load_verify_locations(self.root.certificate)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.set_alpn_protocols(["h2"])
        return context

    def issue_push_certificate(
        self, topic: str, *, not_before: dt.datetime, not_after: dt.datetime, into: Pair
    ) -> Pair:
        """Write a push certificate for `topic` with a new key, as identity.apple.com would."""
        root, root_key = self.root.load()
        key = _new_key()
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.USER_ID, topic),
                x509.NameAttribute(NameOID.COMMON_NAME, f"APSP:{topic.removeprefix(TOPIC_PREFIX)}"),
                x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
            ]
        )
        builder = (
            _builder(subject, root.subject, key, not_before, not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(
                x509.UnrecognizedExtension(PRODUCTION_PUSH_OID, b"\x05\x00"),
                critical=False,
            )
        )
        _write(into, builder.sign(root_key, hashes.SHA256()), key)
        return into


def ensure_authority(folder: Path) -> Authority:
    """The authority kept in `folder`, created when it is new. Certificates that are about to
    expire are issued again; the push certificate keeps its topic, as a renewal at Apple does."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority = Authority(folder)
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    if _due(authority.root, now):
        _create_root(authority.root, now)
        authority.apns.certificate.unlink(missing_ok=True)
        authority.device_ca.certificate.unlink(missing_ok=True)
    if _due(authority.apns, now):
        _create_apns(authority, now)
    if not authority.device_ca.certificate.exists():
        _create_device_ca(authority)
    if _due(authority.push, now) or not _issued_by_root(authority):
        _create_push(authority, now)
    return authority


def topic_of(certificate: x509.Certificate) -> str | None:
    """The topic that a push certificate may push to: the UID of its subject."""
    values = certificate.subject.get_attributes_for_oid(NameOID.USER_ID)
    return str(values[0].value) if values else None


def write_private(path: Path, data: bytes) -> None:
    """Write `data` so that only this user can read it, whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    draft.replace(path)


def _due(pair: Pair, now: dt.datetime) -> bool:
    if not (pair.certificate.exists() and pair.key.exists()):
        return True
    certificate, _ = pair.load()
    return certificate.not_valid_after_utc - RENEW_BEFORE < now


def _issued_by_root(authority: Authority) -> bool:
    root, _ = authority.root.load()
    certificate, _ = authority.push.load()
    try:
        certificate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _create_root(into: Pair, now: dt.datetime) -> None:
    key = _new_key()
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "GuardMDM Lab"),
            x509.NameAttribute(NameOID.COMMON_NAME, "GuardMDM Lab Root CA"),
        ]
    )
    builder = (
        _builder(name, name, key, now - dt.timedelta(hours=1), now + dt.timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_usage(signature=True, issue=True), critical=True)
    )
    _write(into, builder.sign(key, hashes.SHA256()), key)


def _create_device_ca(authority: Authority) -> None:
    """Two CAs that have expired, as Apple's own have: devices are believed all the same."""
    began = dt.datetime(2007, 4, 12, tzinfo=dt.UTC)
    above = authority.root
    for into, name, years in (
        (authority.certification, "Lab iPhone Certification Authority", 15),
        (authority.device_ca, "Lab iPhone Device CA", 7),
    ):
        issuer, issuer_key = above.load()
        key = _new_key()
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "GuardMDM Lab"),
                x509.NameAttribute(NameOID.COMMON_NAME, name),
            ]
        )
        ends = began + dt.timedelta(days=365 * years)
        builder = (
            _builder(subject, issuer.subject, key, began, ends)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_key_usage(signature=True, issue=True), critical=True)
        )
        _write(into, builder.sign(issuer_key, hashes.SHA256()), key)
        above = into


def _create_apns(authority: Authority, now: dt.datetime) -> None:
    root, root_key = authority.root.load()
    key = _new_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("::1")),
    ]
    builder = (
        _builder(
            name,
            root.subject,
            key,
            now - dt.timedelta(hours=1),
            now + dt.timedelta(days=365),
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    _write(authority.apns, builder.sign(root_key, hashes.SHA256()), key)


def _create_push(authority: Authority, now: dt.datetime) -> None:
    topic = None
    if authority.push.certificate.exists():
        certificate, _ = authority.push.load()
        topic = topic_of(certificate)
    authority.issue_push_certificate(
        topic or TOPIC_PREFIX + str(uuid.uuid4()),
        not_before=now - dt.timedelta(hours=1),
        not_after=now + dt.timedelta(days=365),
        into=authority.push,
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: rsa.RSAPrivateKey,
    not_before: dt.datetime,
    not_after: dt.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(*, signature: bool, issue: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signature,
        key_cert_sign=issue,
        crl_sign=issue,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _write(into: Pair, certificate: x509.Certificate, key: rsa.RSAPrivateKey) -> None:
    write_private(into.key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    write_private(into.certificate, certificate.public_bytes(Encoding.PEM))
