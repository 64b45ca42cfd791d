"""CMS EnvelopedData: RSA key transport, content in AES-, 3DES- or DES-CBC.

The arithmetic only. Whom an envelope may be for, and what its faults mean, is for those who get
one: `enrollment.wire.envelope` (SCEP) and `abm.wire.server_token` (Apple's server token). One way
through for every cipher, since cryptography's own reads and writes AES only. Source: RFC 5652.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum

from asn1crypto import cms, core
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import (
    MGF1,
    OAEP,
    AsymmetricPadding,
    PKCS1v15,
)
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, CipherContext, modes
from cryptography.hazmat.primitives.ciphers import Cipher as BlockCipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding


class EnvelopeError(Exception):
    """An envelope that cannot be opened or made.

    EnvelopeError
    ├── UnknownAlgorithm   a cipher, a key transport or a key that is not known here
    ├── Malformed          a part is missing or has the wrong size
    └── DoesNotOpen        a wrong key, or content that was damaged: nobody learns which
    """


class UnknownAlgorithm(EnvelopeError):
    """An algorithm that is not known here."""


class Malformed(EnvelopeError):
    """A part is missing or has the wrong size."""


class DoesNotOpen(EnvelopeError):
    """The content key or the content is wrong."""


@dataclass(frozen=True, slots=True)
class _Shape:
    key: int
    block: int


class Cipher(Enum):
    """The content encryption algorithms, by asn1crypto's name of their OID."""

    AES_128 = "aes128_cbc"
    AES_192 = "aes192_cbc"
    AES_256 = "aes256_cbc"
    DES3 = "tripledes_3key"
    DES = "des"


_SHAPES = {
    Cipher.AES_128: _Shape(16, 16),
    Cipher.AES_192: _Shape(24, 16),
    Cipher.AES_256: _Shape(32, 16),
    Cipher.DES3: _Shape(24, 8),
    Cipher.DES: _Shape(8, 8),
}
_OAEP_DIGESTS: dict[str, type[hashes.HashAlgorithm]] = {
    "sha1": hashes.SHA1,
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}


def open_envelope(
    envelope: cms.EnvelopedData, recipient: cms.KeyTransRecipientInfo, key: rsa.RSAPrivateKey
) -> tuple[bytes, Cipher]:
    """What is inside, and its cipher; `recipient` is the one of the envelope that `key` is for.

    Raises EnvelopeError, and asn1crypto's ValueError and TypeError where the ASN.1 is not that of
    an envelope. All that depends on the decrypted key ends in the same DoesNotOpen: whoever could
    tell a wrong padding from a wrong key would have an oracle for `key` (Bleichenbacher).
    """
    content = envelope["encrypted_content_info"]
    cipher = _cipher_of(content["content_encryption_algorithm"])
    vector = content["content_encryption_algorithm"]["parameters"].native
    if not isinstance(vector, bytes) or len(vector) != _SHAPES[cipher].block:
        raise Malformed("the initialization vector is not one block long")
    padding = _padding_of(recipient["key_encryption_algorithm"])
    wrapped = recipient["encrypted_key"].native
    if not isinstance(wrapped, bytes):
        raise Malformed("the envelope has no key")
    data = content["encrypted_content"].native
    if not isinstance(data, bytes):
        raise Malformed("the envelope is empty")
    return _decrypted(cipher, _unwrapped(key, wrapped, padding, cipher), vector, data), cipher


def seal_envelope(data: bytes, recipient: x509.Certificate, cipher: Cipher) -> cms.EnvelopedData:
    """`data` for the holder of `recipient`'s RSA key. Raises UnknownAlgorithm for another key."""
    public_key = recipient.public_key()
    if not isinstance(public_key, rsa.RSAPublicKey):
        raise UnknownAlgorithm("only RSA keys can receive an envelope")
    shape = _SHAPES[cipher]
    content_key, vector = os.urandom(shape.key), os.urandom(shape.block)
    padder = PKCS7(shape.block * 8).padder()
    padded = padder.update(data) + padder.finalize()
    encryptor = BlockCipher(_algorithm(cipher, content_key), modes.CBC(vector)).encryptor()
    return cms.EnvelopedData(
        {
            "version": "v0",
            "recipient_infos": [_recipient(recipient, public_key.encrypt(content_key, PKCS1v15()))],
            "encrypted_content_info": {
                "content_type": "data",
                "content_encryption_algorithm": {"algorithm": cipher.value, "parameters": vector},
                "encrypted_content": _run(encryptor, padded),
            },
        }
    )


def _cipher_of(algorithm: cms.EncryptionAlgorithm) -> Cipher:
    try:
        return Cipher(algorithm["algorithm"].native)
    except ValueError as error:
        raise UnknownAlgorithm("the content is encrypted with an unknown algorithm") from error


def _padding_of(algorithm: cms.KeyEncryptionAlgorithm) -> AsymmetricPadding:
    name = algorithm["algorithm"].native
    if name == "rsaes_pkcs1v15":
        return PKCS1v15()
    if name != "rsaes_oaep":
        raise UnknownAlgorithm("the content key is not wrapped with RSA")
    parameters = algorithm["parameters"]
    mask = parameters["mask_gen_algorithm"]["parameters"]
    label = parameters["p_source_algorithm"]["parameters"].native
    return OAEP(
        mgf=MGF1(_oaep_digest(mask["algorithm"])),
        algorithm=_oaep_digest(parameters["hash_algorithm"]["algorithm"]),
        label=label or None,
    )


def _oaep_digest(name: core.ObjectIdentifier) -> hashes.HashAlgorithm:
    if name.native not in _OAEP_DIGESTS:
        raise UnknownAlgorithm("the content key is wrapped with an unknown digest")
    return _OAEP_DIGESTS[name.native]()


def _unwrapped(
    key: rsa.RSAPrivateKey, wrapped: bytes, padding: AsymmetricPadding, cipher: Cipher
) -> bytes:
    """The content key; a random one where it cannot be had, so that nobody learns which."""
    instead = os.urandom(_SHAPES[cipher].key)
    try:
        content_key = key.decrypt(wrapped, padding)
    except ValueError:
        return instead
    return content_key if len(content_key) == _SHAPES[cipher].key else instead


def _decrypted(cipher: Cipher, content_key: bytes, vector: bytes, data: bytes) -> bytes:
    decryptor = BlockCipher(_algorithm(cipher, content_key), modes.CBC(vector)).decryptor()
    unpadder = PKCS7(_SHAPES[cipher].block * 8).unpadder()
    try:
        return unpadder.update(_run(decryptor, data)) + unpadder.finalize()
    except ValueError as error:
        raise DoesNotOpen("the envelope does not open") from error


def _algorithm(cipher: Cipher, content_key: bytes) -> BlockCipherAlgorithm:
    if cipher is Cipher.DES:
        return TripleDES(content_key * 3)
    return TripleDES(content_key) if cipher is Cipher.DES3 else AES(content_key)


def _run(context: CipherContext, data: bytes) -> bytes:
    return context.update(data) + context.finalize()


def _recipient(certificate: x509.Certificate, wrapped: bytes) -> cms.RecipientInfo:
    from_certificate = asn1_x509.Certificate.load(certificate.public_bytes(Encoding.DER))
    return cms.RecipientInfo(
        name="ktri",
        value={
            "version": "v0",
            "rid": cms.RecipientIdentifier(
                name="issuer_and_serial_number",
                value={
                    "issuer": from_certificate.issuer,
                    "serial_number": certificate.serial_number,
                },
            ),
            "key_encryption_algorithm": {
                "algorithm": "rsaes_pkcs1v15",
                "parameters": core.Null(),
            },
            "encrypted_key": wrapped,
        },
    )
