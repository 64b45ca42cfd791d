"""A list of receivers, frozen when someone chose it, until they have decided what to send.

What was chosen stays chosen: a device that enrolls meanwhile does not join it. It lies in the
cache for an hour; lost, it is chosen again.
"""

from __future__ import annotations

import secrets
from array import array
from collections.abc import Iterable

from django.core.cache import cache
from django.core.exceptions import BadRequest
from django.http import QueryDict

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


def ticked(form: QueryDict) -> list[int]:
    """The ids that the form of a table's bulk bar names. Raises BadRequest."""
    given = [*form.get("ids", "").split(","), *form.getlist("id")]
    if any(len(text) > 18 or not (text.isascii() and text.isdigit()) for text in given if text):
        raise BadRequest("A selection is a list of numbers.")
    return sorted({int(text) for text in given if text})


def _key(user_id: int, token: str) -> str:
    return f"selection:{user_id}:{token}"
