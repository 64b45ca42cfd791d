"""How a device proves who it is: it signs, as its profile says, or a proxy's header speaks for
it, as behind a server that ends TLS."""

from __future__ import annotations

import base64
import functools
from enum import StrEnum
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from lab.devices.memory import Management
from lab.signing import mdm_signature


class Presentation(StrEnum):
    """AS_PROFILE signs where the profile asks for it. The others play the proxy as well."""

    AS_PROFILE = "mdm-signature"
    CLIENT_CERT = "client-cert"
    NGINX = "nginx"


def present(
    body: bytes, management: Management, presentation: Presentation, digest: str
) -> dict[str, str]:
    """The headers that go with `body`."""
    certificate, key = _identity(management.certificate, management.key)
    headers = {}
    if management.sign_message:
        headers["Mdm-Signature"] = mdm_signature(body, certificate, key, digest)
    if presentation is Presentation.CLIENT_CERT:
        der = certificate.public_bytes(Encoding.DER)
        headers["Client-Cert"] = f":{base64.b64encode(der).decode('ascii')}:"
    if presentation is Presentation.NGINX:
        headers["X-Client-Cert"] = quote(management.certificate, safe="")
    return headers


@functools.lru_cache(maxsize=4096)
def _identity(certificate: str, key: str) -> tuple[x509.Certificate, rsa.RSAPrivateKey]:
    loaded = load_pem_private_key(key.encode(), password=None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(loaded, rsa.RSAPrivateKey)
    return x509.load_pem_x509_certificate(certificate.encode()), loaded
