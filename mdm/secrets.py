"""Secrets at rest: sealed with AES-256-GCM under the keys of GUARD_ENCRYPTION_KEYS.

The first key seals; every listed key opens, so that keys can be rotated
(`manage.py rotate_keys` re-seals what an older key sealed). What a value is for is part of the
seal: a sealed push token cannot be passed off as an unlock token.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.db import models


class SealedField(models.BinaryField):  # type: ignore[type-arg]
    """A column of sealed values. `purposes` are those its values were sealed for: key rotation
    (`mdm/rotation.py`) finds every sealed column by this type."""

    def __init__(self, *purposes: str, **options: Any) -> None:
        super().__init__(**options)
        self.purposes = purposes

    def deconstruct(self) -> Any:
        name, _, args, options = super().deconstruct()
        return name, "django.db.models.BinaryField", args, options


_FORMAT = b"\x01"
_KEY_ID = 4
_NONCE = 12
_HEAD = 1 + _KEY_ID + _NONCE


class Unsealable(Exception):
    """No listed key opens this value, or it was sealed for another purpose."""


def seal(purpose: str, plain: bytes) -> bytes:
    """Encrypt for storage: 1 byte format, 4 bytes key id, 12 bytes nonce, ciphertext and tag."""
    key_id, cipher = next(iter(_ciphers(settings.ENCRYPTION_KEYS).items()))
    nonce = os.urandom(_NONCE)
    return _FORMAT + key_id + nonce + cipher.encrypt(nonce, plain, purpose.encode())


def unseal(purpose: str, sealed: bytes | memoryview) -> bytes:
    """The plain bytes. Raises Unsealable."""
    data = bytes(sealed)
    cipher = _ciphers(settings.ENCRYPTION_KEYS).get(data[1 : 1 + _KEY_ID])
    if data[:1] != _FORMAT or cipher is None:
        raise Unsealable("no key in GUARD_ENCRYPTION_KEYS opens this secret")
    try:
        return cipher.decrypt(data[1 + _KEY_ID : _HEAD], data[_HEAD:], purpose.encode())
    except InvalidTag as error:
        raise Unsealable("this secret was altered or sealed for another purpose") from error


def current_prefix() -> bytes:
    """How every value begins that the newest key sealed."""
    return _FORMAT + next(iter(_ciphers(settings.ENCRYPTION_KEYS)))


@cache
def _ciphers(keys: tuple[bytes, ...]) -> dict[bytes, AESGCM]:
    return {hashlib.sha256(key).digest()[:_KEY_ID]: AESGCM(key) for key in keys}
