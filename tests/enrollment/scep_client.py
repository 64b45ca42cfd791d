"""A SCEP client for tests: writes requests with any algorithm, and reads what comes back."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache

from asn1crypto import cms, core, csr
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import AttributeOID, NameOID

from enrollment.wire.envelope import Cipher, open_envelope, seal_envelope

SCEP = "2.16.840.1.113733.1.9."
DIGESTS = {"sha1": hashes.SHA1(), "sha256": hashes.SHA256(), "sha512": hashes.SHA512()}


def rsa_key(name: str = "a", size: int = 2048) -> rsa.RSAPrivateKey:
    """A key by name, so that a run of tests makes each only once."""
    return _key(name, size)


@cache
def _key(name: str, size: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=size)


def self_signed(key: rsa.RSAPrivateKey, name: str = "Client") -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )


def build_csr(
    key: rsa.RSAPrivateKey,
    challenge: str | None = None,
    *,
    subject: str = "Client",
    extensions: tuple[x509.ExtensionType, ...] = (),
    digest: hashes.HashAlgorithm | None = None,
) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    if challenge is not None:
        oid = AttributeOID.CHALLENGE_PASSWORD
        builder = builder.add_attribute(oid, challenge.encode())
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, digest or hashes.SHA256()).public_bytes(Encoding.DER)


@dataclass(frozen=True)
class Client:
    """What one client would send; every field can be turned into something wrong."""

    ca: x509.Certificate
    key: rsa.RSAPrivateKey
    csr: bytes
    signer: x509.Certificate = None  # type: ignore[assignment]
    signer_key: rsa.RSAPrivateKey | None = None
    message_type: str = "19"
    transaction_id: str = "transaction-1"
    nonce: bytes = field(default_factory=lambda: os.urandom(16))
    cipher: Cipher = Cipher.AES_128
    digest: str = "sha256"
    content: bytes | None = None
    leave_out: frozenset[str] = frozenset()
    repeat: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.signer is None:
            object.__setattr__(self, "signer", self_signed(self.key))

    def but(self, **changes: object) -> Client:
        return replace(self, **changes)  # type: ignore[arg-type]

    def message(self) -> bytes:
        content = self.content if self.content is not None else self._envelope()
        digest = DIGESTS[self.digest]
        attributes = cms.CMSAttributes(self._attributes(_hash(digest, content)))
        key = self.signer_key or self.key
        own = asn1_x509.Certificate.load(self.signer.public_bytes(Encoding.DER))
        signer = {
            "version": "v1",
            "sid": cms.SignerIdentifier(
                "issuer_and_serial_number",
                {"issuer": own.issuer, "serial_number": own.serial_number},
            ),
            "digest_algorithm": {"algorithm": self.digest},
            "signed_attrs": attributes,
            "signature_algorithm": {"algorithm": "rsassa_pkcs1v15"},
            "signature": key.sign(attributes.dump(), PKCS1v15(), digest),
        }
        signed_data = {
            "version": "v1",
            "digest_algorithms": [{"algorithm": self.digest}],
            "encap_content_info": {"content_type": "data", "content": content},
            "certificates": [cms.CertificateChoices("certificate", own)],
            "signer_infos": [signer],
        }
        info = cms.ContentInfo({"content_type": "signed_data", "content": signed_data})
        return bytes(info.dump())

    def _envelope(self) -> bytes:
        envelope = seal_envelope(self.csr, self.ca, self.cipher)
        info = cms.ContentInfo({"content_type": "enveloped_data", "content": envelope})
        return bytes(info.dump())

    def _attributes(self, message_digest: bytes) -> list[cms.CMSAttribute]:
        values: dict[str, core.Asn1Value] = {
            SCEP + "2": core.PrintableString(self.message_type),
            SCEP + "5": core.OctetString(self.nonce),
            SCEP + "7": core.PrintableString(self.transaction_id),
            "1.2.840.113549.1.9.3": cms.ContentType("data"),
            "1.2.840.113549.1.9.4": core.OctetString(message_digest),
        }
        attributes = [
            cms.CMSAttribute({"type": oid, "values": [value]})
            for oid, value in values.items()
            if oid not in self.leave_out
        ]
        return attributes + [a for a in attributes if a["type"].dotted in self.repeat]

    def read(self, answer: bytes) -> Answer:
        """The CertRep's contents. Asserts what every client checks: signature, nonce, id."""
        signed_data = cms.ContentInfo.load(answer)["content"]
        signer = signed_data["signer_infos"][0]
        found = {a["type"].dotted: a["values"][0] for a in signer["signed_attrs"]}
        digest = DIGESTS[signer["digest_algorithm"]["algorithm"].native]
        signed = b"\x31" + signer["signed_attrs"].dump()[1:]
        ca_key = self.ca.public_key()
        assert isinstance(ca_key, rsa.RSAPublicKey)
        ca_key.verify(signer["signature"].native, signed, PKCS1v15(), digest)
        content = signed_data["encap_content_info"]["content"]
        inside = bytes(content) if content.native is not None else b""
        assert found["1.2.840.113549.1.9.4"].native == _hash(digest, inside)
        assert _text(found[SCEP + "2"]) == "3"
        assert _text(found[SCEP + "7"]) == self.transaction_id
        assert found[SCEP + "6"].parse(core.OctetString).native == self.nonce
        assert len(found[SCEP + "5"].parse(core.OctetString).native) == 16
        fail_info = found.get(SCEP + "4")
        return Answer(
            status=_text(found[SCEP + "3"]),
            fail_info=_text(fail_info) if fail_info is not None else None,
            digest=signer["digest_algorithm"]["algorithm"].native,
            **self._opened(inside),  # type: ignore[arg-type]
        )

    def _opened(self, inside: bytes) -> dict[str, object]:
        if not inside:
            return {}
        envelope = cms.ContentInfo.load(inside)["content"]
        data, cipher = open_envelope(envelope, self.signer, self.signer_key or self.key)
        return {"certificate": pkcs7.load_der_pkcs7_certificates(data)[0], "cipher": cipher}


@dataclass(frozen=True)
class Answer:
    status: str
    fail_info: str | None
    digest: str
    certificate: x509.Certificate | None = None
    cipher: Cipher | None = None


def with_version(request: bytes, version: int) -> bytes:
    """A CSR that claims another version, signed again, as some clients write it."""
    parsed = csr.CertificationRequest.load(request)
    info = csr.CertificationRequestInfo.load(parsed["certification_request_info"].dump())
    der = bytearray(info.dump())
    der[der.index(b"\x02\x01\x00") + 2] = version
    signature = rsa_key().sign(bytes(der), PKCS1v15(), hashes.SHA256())
    return bytes(
        csr.CertificationRequest(
            {
                "certification_request_info": csr.CertificationRequestInfo.load(bytes(der)),
                "signature_algorithm": {"algorithm": "sha256_rsa"},
                "signature": signature,
            }
        ).dump()
    )


def _text(value: core.Any) -> str:
    return str(value.parse(core.PrintableString).native)


def _hash(algorithm: hashes.HashAlgorithm, data: bytes) -> bytes:
    digest = hashes.Hash(algorithm)
    digest.update(data)
    return digest.finalize()
