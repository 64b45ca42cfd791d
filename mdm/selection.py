"""A list of receivers, frozen when someone chose it, until they have decided what to send.

What was chosen stays chosen: a device that enrolls meanwhile does not join it. It lies in the
cache for an hour; lost, it is chosen again.
"""

from __future__ import annotations

import secrets
from array import array
from collections.abc import Iterable

from django.core.cache import cache

_SECONDS = 3600


class SelectionGone(Exception):
    """The list is too old, was never there, or is someone else's."""


def freeze(user_id: int, ids: Iterable[int]) -> str:
    """Keep `ids` for this person; returns the word that finds them again."""
    token = secrets.token_urlsafe(12)
    cache.set(_key(user_id, token), array("q", sorted(set(ids))).tobytes(), _SECONDS)
    return token


def thaw(user_id: int, token: str) -> list[int]:
    """The ids that `token` stands for. Raises SelectionGone."""
    kept = cache.get(_key(user_id, token[:32])) if token.isascii() and token.isprintable() else None
    if kept is None:
        raise SelectionGone("This selection is too old. Choose the devices again.")
    ids = array("q")
    ids.frombytes(kept)
    return ids.tolist()


def _key(user_id: int, token: str) -> str:
    return f"selection:{user_id}:{token}"
