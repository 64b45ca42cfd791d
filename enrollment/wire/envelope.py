"""CMS EnvelopedData as SCEP uses it: RSA key transport, AES-, 3DES- or DES-CBC.

`enrollment.wire.scep` wraps it in its messages. One way through for every cipher, since
cryptography's own reads and writes AES only and SCEP wants answers in the client's cipher.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum

from asn1crypto import cms, core
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, CipherContext, modes
from cryptography.hazmat.primitives.ciphers import Cipher as BlockCipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding

from enrollment.wire.errors import BadAlgorithm, BadMessageCheck, BadRequest


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


def open_envelope(
    envelope: cms.EnvelopedData, certificate: x509.Certificate, key: rsa.RSAPrivateKey
) -> tuple[bytes, Cipher]:
    """What is inside, and the cipher it was in.

    Raises BadAlgorithm, BadRequest, BadMessageCheck. All that depends on the decrypted key ends
    in the same BadMessageCheck: whoever could tell a wrong padding from a wrong key would have
    an oracle for the CA's private key (Bleichenbacher).
    """
    content = envelope["encrypted_content_info"]
    cipher = _cipher_of(content["content_encryption_algorithm"])
    vector = content["content_encryption_algorithm"]["parameters"].native
    if not isinstance(vector, bytes) or len(vector) != _SHAPES[cipher].block:
        raise BadRequest("the initialization vector is not one block long")
    wrapped = _wrapped_key(envelope["recipient_infos"], certificate)
    data = content["encrypted_content"].native
    if not isinstance(data, bytes):
        raise BadRequest("the envelope is empty")
    return _decrypted(cipher, _unwrapped(key, wrapped, cipher), vector, data), cipher


def seal_envelope(data: bytes, recipient: x509.Certificate, cipher: Cipher) -> cms.EnvelopedData:
    """`data` for the holder of `recipient`'s RSA key. Raises BadAlgorithm for another key."""
    public_key = recipient.public_key()
    if not isinstance(public_key, rsa.RSAPublicKey):
        raise BadAlgorithm("only RSA keys can receive an envelope")
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
        raise BadAlgorithm("the content is encrypted with an unknown algorithm") from error


def _wrapped_key(recipients: cms.RecipientInfos, certificate: x509.Certificate) -> bytes:
    """The content key for us. Clients name us by issuer and serial number or by key id."""
    if len(recipients) != 1 or recipients[0].name != "ktri":
        raise BadRequest("the envelope is not for one RSA recipient")
    recipient = recipients[0].chosen
    if recipient["key_encryption_algorithm"]["algorithm"].native != "rsaes_pkcs1v15":
        raise BadAlgorithm("the content key is not wrapped with RSA PKCS#1 v1.5")
    name = recipient["rid"]
    by_serial = name.name == "issuer_and_serial_number"
    if by_serial and name.chosen["serial_number"].native != certificate.serial_number:
        raise BadRequest("the envelope is for another certificate")
    wrapped = recipient["encrypted_key"].native
    if not isinstance(wrapped, bytes):
        raise BadRequest("the envelope has no key")
    return wrapped


def _unwrapped(key: rsa.RSAPrivateKey, wrapped: bytes, cipher: Cipher) -> bytes:
    """The content key; a random one where it cannot be had, so that nobody learns which."""
    instead = os.urandom(_SHAPES[cipher].key)
    try:
        content_key = key.decrypt(wrapped, PKCS1v15())
    except ValueError:
        return instead
    return content_key if len(content_key) == _SHAPES[cipher].key else instead


def _decrypted(cipher: Cipher, content_key: bytes, vector: bytes, data: bytes) -> bytes:
    decryptor = BlockCipher(_algorithm(cipher, content_key), modes.CBC(vector)).decryptor()
    unpadder = PKCS7(_SHAPES[cipher].block * 8).unpadder()
    try:
        return unpadder.update(_run(decryptor, data)) + unpadder.finalize()
    except ValueError as error:
        raise BadMessageCheck("the envelope does not open") from error


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
