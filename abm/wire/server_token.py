"""Apple's server token file (.p7m): the key pair it is made for, whom it is for, and its content.

Which key pairs there are and what a token is used for is decided in `abm.tokens`; what wraps the
file is taken off in `abm.wire.wrappings` and `abm.wire.ber`. Source: Apple, "Authenticating with
a device management service" (server token), RFC 5652.

ServerTokenError
├── NotAToken    another file: the message says what it seems to be
├── Truncated    a download that is not complete
├── WrongKey     encrypted for another certificate
└── Unreadable   for this certificate, but what is inside is damaged or no token
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from asn1crypto import cms
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from abm.wire.ber import BadBer, Incomplete, to_der
from abm.wire.lookalikes import is_cut_off, what_it_is
from abm.wire.wrappings import asn1_candidates
from mdm.protocol import envelope as sealed

LARGEST_FILE = 1_000_000
VALID_DAYS = 3653

_LARGEST_TOKEN = 64 * 1024
_SECRETS = ("consumer_key", "consumer_secret", "access_token", "access_secret")
_EXPIRY = "access_token_expiry"
_SECRET = re.compile(r"[!-~]{1,1024}")
# The server's clock may be ahead of Apple's.
_BACKDATED = timedelta(days=1)
_PARSER_ERRORS = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    UnsupportedAlgorithm,
)

_AGAIN = "Download the server token again in Apple Business Manager and upload that file."


class ServerTokenError(Exception):
    """Why a file is not taken, as a sentence for an admin that says what to do."""


class NotAToken(ServerTokenError):
    """Another file than a server token."""


class Truncated(ServerTokenError):
    """The file ends too early."""


class WrongKey(ServerTokenError):
    """The token is encrypted for another certificate."""


class Unreadable(ServerTokenError):
    """The token is for this certificate, but what is inside is damaged or no token."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """The certificate that is uploaded to Apple, and the key that opens what Apple gives for it."""

    certificate_pem: bytes
    key_pem: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Recipient:
    """Whom a file is encrypted for: issuer (DER) and serial number, or else a key identifier."""

    issuer: bytes | None = None
    serial_number: int | None = None
    key_id: bytes | None = None


@dataclass(frozen=True, slots=True)
class Envelope:
    """A token file that is still closed."""

    recipients: tuple[Recipient, ...]
    enveloped_data: cms.EnvelopedData = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerToken:
    """What gives access to the device enrollment service, for a year. `more` has unknown keys."""

    consumer_key: str
    consumer_secret: str = field(repr=False)
    access_token: str = field(repr=False)
    access_secret: str = field(repr=False)
    access_token_expiry: datetime
    more: Mapping[str, object] = field(default_factory=dict, repr=False, hash=False)

    def to_json(self) -> bytes:
        """For storage, in Apple's own form; it holds the secrets, so it is to be sealed."""
        known = {name: getattr(self, name) for name in _SECRETS}
        known[_EXPIRY] = self.access_token_expiry.isoformat()
        return json.dumps({**self.more, **known}).encode()

    @classmethod
    def from_json(cls, data: bytes | str) -> ServerToken:
        """What `to_json` wrote, or the JSON in Apple's file. Raises Unreadable."""
        try:
            found = json.loads(data, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise _no_token("it is not JSON") from error
        if not isinstance(found, dict):
            raise _no_token("it is not a JSON object")
        expiry = _moment(found.pop(_EXPIRY, None))
        secrets = {name: _secret(name, found.pop(name, None)) for name in _SECRETS}
        return cls(access_token_expiry=expiry, more=found, **secrets)


def make_key_pair(common_name: str, now: datetime, *, days: int = VALID_DAYS) -> KeyPair:
    """A new RSA-2048 key and its self-signed certificate with a random serial number.

    The certificate only carries the key: Apple looks at nothing else in it, so it lives long.
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])
    key_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(key_id, critical=False)
        .sign(key, hashes.SHA256())
    )
    return KeyPair(
        certificate.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


def recipients(data: bytes) -> tuple[Recipient, ...]:
    """Whom the file is encrypted for. Raises ServerTokenError."""
    return read_envelope(data).recipients


def read_envelope(data: bytes) -> Envelope:
    """The envelope in a file of at most 1 MB, in whatever form it came: Apple's own, base64, PEM,
    DER or BER, or a mail around it. Raises NotAToken, Truncated, Unreadable.
    """
    if len(data) > LARGEST_FILE:
        raise NotAToken(f"This file is far too large for a server token (over 1 MB). {_AGAIN}")
    incomplete = False
    for candidate in asn1_candidates(data):
        try:
            der = to_der(candidate)
        except BadBer as error:
            incomplete = incomplete or isinstance(error, Incomplete)
            continue
        if _is_enveloped(der):
            return _envelope(der)
    raise _another_file(data, incomplete)


def made_for(envelope: Envelope, certificate_pem: bytes) -> bool:
    """Whether the file is encrypted for this certificate, which must be one that can be read."""
    is_meant = _matcher(x509.load_pem_x509_certificate(certificate_pem))
    return any(is_meant(recipient) for recipient in envelope.recipients)


def open_envelope(envelope: Envelope, certificate_pem: bytes, key_pem: bytes) -> ServerToken:
    """The token inside. Raises WrongKey, Unreadable; ValueError for a key that cannot be read."""
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    key = load_pem_private_key(key_pem, None)
    is_meant = _matcher(certificate)
    infos = zip(envelope.recipients, _infos(envelope.enveloped_data), strict=True)
    info = next((info for recipient, info in infos if is_meant(recipient)), None)
    fits = isinstance(key, rsa.RSAPrivateKey) and key.public_key() == certificate.public_key()
    if info is None or not isinstance(key, rsa.RSAPrivateKey) or not fits:
        raise WrongKey(
            "This server token is encrypted for another certificate. Upload the certificate from"
            " this page at your server in Apple Business Manager, then download a new token there."
        )
    with _damage_is_unreadable():
        content, _cipher = sealed.open_envelope(envelope.enveloped_data, info, key)
    return ServerToken.from_json(_json_in(content))


def _is_enveloped(der: bytes) -> bool:
    try:
        return bool(cms.ContentInfo.load(der)["content_type"].native == "enveloped_data")
    except _PARSER_ERRORS:
        return False


def _envelope(der: bytes) -> Envelope:
    with _damage_is_unreadable():
        enveloped = cms.ContentInfo.load(der)["content"]
        found = tuple(_recipient(info) for info in _infos(enveloped))
        if not found:
            raise sealed.Malformed("the envelope is not for an RSA recipient")
        return Envelope(found, enveloped)


def _infos(enveloped: cms.EnvelopedData) -> list[cms.KeyTransRecipientInfo]:
    return [info.chosen for info in enveloped["recipient_infos"] if info.name == "ktri"]


def _recipient(info: cms.KeyTransRecipientInfo) -> Recipient:
    name = info["rid"]
    if name.name == "subject_key_identifier":
        return Recipient(key_id=name.chosen.native)
    issuer, serial_number = name.chosen["issuer"].dump(), name.chosen["serial_number"].native
    return Recipient(issuer=issuer, serial_number=serial_number)


def _matcher(certificate: x509.Certificate) -> Callable[[Recipient], bool]:
    """By serial number, which is random: a re-encoded issuer must not make a token unreadable."""
    key_ids = _key_ids(certificate)
    return lambda recipient: (
        recipient.serial_number == certificate.serial_number or recipient.key_id in key_ids
    )


def _key_ids(certificate: x509.Certificate) -> set[bytes]:
    key = x509.SubjectKeyIdentifier.from_public_key(certificate.public_key())
    try:
        held = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        return {key.digest}
    return {key.digest, held.value.digest}


@contextmanager
def _damage_is_unreadable() -> Iterator[None]:
    """The parsers leak errors of many kinds; callers see one."""
    try:
        yield
    except sealed.UnknownAlgorithm as error:
        raise Unreadable(
            f"This server token is encrypted in a way that is not known here: {error}. {_AGAIN}"
        ) from error
    except (sealed.EnvelopeError, *_PARSER_ERRORS) as error:
        raise Unreadable(f"This server token is damaged and does not open. {_AGAIN}") from error


def _another_file(data: bytes, incomplete: bool) -> ServerTokenError:
    known = what_it_is(data)
    if known:
        return NotAToken(known)
    if incomplete or is_cut_off(data):
        return Truncated(f"This file ends too early: the download was not complete. {_AGAIN}")
    return NotAToken(
        "This is not a server token. Upload the file ending in .p7m that you downloaded at your"
        " server in Apple Business Manager."
    )


def _json_in(content: bytes) -> str:
    """Without the MIME headers and the MESSAGE lines around it, and without its line breaks."""
    if len(content) > _LARGEST_TOKEN:
        raise _no_token("it is too large")
    try:
        text = content.decode("utf-8")
    except ValueError as error:
        raise _no_token("it is not text") from error
    start, end = text.find("{"), text.rfind("}")
    if not 0 <= start < end:
        raise _no_token("it holds no JSON")
    return text[start : end + 1].replace("\r", "").replace("\n", "")


def _secret(name: str, value: object) -> str:
    if not isinstance(value, str) or not _SECRET.fullmatch(value):
        raise _no_token(f"“{name}” is missing or not a token's")
    return value


def _moment(value: object) -> datetime:
    if not isinstance(value, str):
        raise _no_token(f"“{_EXPIRY}” is missing")
    try:
        moment = datetime.fromisoformat(value)
        # Apple's moments are in UTC, whether they say so or not.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise _no_token(f"“{_EXPIRY}” is not a moment") from error


def _no_constant(name: str) -> object:
    raise ValueError(name)


def _no_token(why: str) -> Unreadable:
    return Unreadable(f"This file opens, but its content is not a server token: {why}. {_AGAIN}")
