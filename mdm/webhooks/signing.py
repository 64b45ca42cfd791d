"""Signatures as in Standard Webhooks 1.0: whoever has the secret can tell that an event is ours,
whole, and from just now.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence

_PREFIX = "whsec_"
_BYTES = 32


def new_secret() -> str:
    """As receivers get it: `whsec_` and base64."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_BYTES)).decode()


def headers(id: str, timestamp: int, body: bytes, with_secrets: Sequence[str]) -> dict[str, str]:
    """The three headers; a signature for each secret."""
    signed = f"{id}.{timestamp}.".encode() + body
    signatures = (f"v1,{_signature(secret, signed)}" for secret in with_secrets)
    return {
        "webhook-id": id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }


def _signature(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
