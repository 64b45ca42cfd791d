"""The certificates GuardMDM makes: its CA, device identities, the devices' port.

Who may have one is decided in `enrollment.scep`; what an identity is for is `mdm.protocol.binding`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mdm.protocol.binding import Binding

AUTHORITY_LIFETIME = timedelta(days=3653)
IDENTITY_LIFETIME = timedelta(days=730)
# Apple refuses TLS server certificates valid for more than 398 days.
SERVER_LIFETIME = timedelta(days=397)
# Certificates start this long before they are made: a device's clock may be behind ours.
BACKDATED = timedelta(days=1)

MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192
# A huge exponent would make every verification cost milliseconds.
MAX_EXPONENT_BITS = 33

IdentityKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


class WeakKey(ValueError):
    """A public key that no certificate is issued for."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA: its certificate and the key that signs with it."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey


def create_authority(name: str, now: datetime) -> Authority:
    """A new self-signed CA with an RSA-3072 key.

    RSA with keyEncipherment, since SCEP clients encrypt their requests to this certificate and
    answers are signed with it (RFC 8894 §2.1.2).
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        _builder(subject, subject, key.public_key(), now, AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
        )
    )
    return Authority(builder.sign(key, hashes.SHA256()), key)


def issue_identity(
    authority: Authority,
    public_key: IdentityKey,
    binding: Binding,
    now: datetime,
    lifetime: timedelta = IDENTITY_LIFETIME,
) -> x509.Certificate:
    """A device's identity certificate; nothing in it but the key comes from the device.

    Raises WeakKey.
    """
    label = binding.serial_number or binding.reference
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"MDM Identity {label}"[:64])])
    builder = (
        _issued(authority, subject, check_key(public_key), now, lifetime)
        .add_extension(_key_usage(), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(binding.to_uri())]),
            critical=False,
        )
    )
    return builder.sign(authority.key, hashes.SHA256())


def issue_server_certificate(
    authority: Authority, public_key: IdentityKey, hosts: Sequence[str], now: datetime
) -> x509.Certificate:
    """A TLS certificate for the devices' port; `hosts` are DNS names and IP addresses.

    Raises WeakKey, and ValueError where `hosts` is empty.
    """
    if not hosts:
        raise ValueError("a server certificate needs a host")
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:64])])
    builder = (
        _issued(authority, subject, check_key(public_key), now, SERVER_LIFETIME)
        .add_extension(_key_usage(), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([_host_name(host) for host in hosts]), critical=False
        )
    )
    return builder.sign(authority.key, hashes.SHA256())


def check_key(public_key: object) -> IdentityKey:
    """The key itself if a certificate may be issued for it: RSA from 2048 bits, P-256, P-384.

    Raises WeakKey.
    """
    match public_key:
        case rsa.RSAPublicKey():
            if public_key.public_numbers().e.bit_length() > MAX_EXPONENT_BITS:
                raise WeakKey("the exponent of the RSA key is larger than any that is in use")
            if MIN_RSA_BITS <= public_key.key_size <= MAX_RSA_BITS:
                return public_key
            raise WeakKey(f"RSA keys have from 2048 to 8192 bits, not {public_key.key_size}")
        case ec.EllipticCurvePublicKey():
            if isinstance(public_key.curve, ec.SECP256R1 | ec.SECP384R1):
                return public_key
            raise WeakKey(f"the curve {public_key.curve.name} is not P-256 or P-384")
        case _:
            raise WeakKey("the key is neither RSA nor EC")


def _issued(
    authority: Authority,
    subject: x509.Name,
    public_key: IdentityKey,
    now: datetime,
    lifetime: timedelta,
) -> x509.CertificateBuilder:
    issuer = authority.certificate
    key_id = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (
        _builder(subject, issuer.subject, public_key, now, lifetime)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id), critical=False
        )
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: IdentityKey,
    now: datetime,
    lifetime: timedelta,
) -> x509.CertificateBuilder:
    start = now - BACKDATED
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _key_usage(*, signs_certificates: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
