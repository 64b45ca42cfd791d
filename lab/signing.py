"""The Mdm-Signature header: a detached CMS signature over the very bytes of a request."""

from __future__ import annotations

import base64
import functools

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from lab import cms


def sign_detached(
    body: bytes,
    certificate: x509.Certificate,
    key: rsa.RSAPrivateKey,
    digest: str = "sha256",
) -> bytes:
    """The signature in DER. `digest` is "sha256", or "sha1" as older systems use."""
    return cms.sign(body, _signer(certificate, key, digest), detached=True)


def mdm_signature(
    body: bytes,
    certificate: x509.Certificate,
    key: rsa.RSAPrivateKey,
    digest: str = "sha256",
) -> str:
    """The value of the Mdm-Signature header."""
    return base64.b64encode(sign_detached(body, certificate, key, digest)).decode("ascii")


@functools.lru_cache(maxsize=4096)
def _signer(certificate: x509.Certificate, key: rsa.RSAPrivateKey, digest: str) -> cms.Signer:
    return cms.Signer(certificate, key, digest)
