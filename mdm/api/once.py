"""Idempotency keys at the API's edge; what they promise, and how, is `mdm/accounts/once.py`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

from rest_framework.exceptions import Throttled, ValidationError
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from mdm.accounts import once
from mdm.accounts.models import ApiToken, User
from mdm.api.answers import answer_with
from mdm.api.errors import AnotherRequest, Conflict, StillRunning

answer_with(once.StillRunning, StillRunning)
answer_with(once.AnotherRequest, AnotherRequest)
answer_with(once.AnswerNotKept, Conflict)

LONGEST = 255
_FULL_WAIT = 3600


def answer(request: Request, key: str, act: Callable[[], Response]) -> Response:
    """The answer of `act`, which is done once under this key, or the one that it gave before."""
    if not (0 < len(key) <= LONGEST and key.isascii() and key.isprintable()):
        raise ValidationError(
            {"Idempotency-Key": [f"Give 1 to {LONGEST} printable ASCII characters."]}
        )
    fresh: list[Response] = []

    def acting() -> once.Answer:
        fresh.append(act())
        given = fresh[0]
        body = b"" if given.data is None else JSONRenderer().render(given.data)
        return once.Answer(given.status_code, body)

    try:
        given, again = once.once(
            cast(User, request.user), _owner(request), key, _what(request), acting
        )
    except once.TooMany as full:
        raise Throttled(_FULL_WAIT, str(full)) from None
    if not again:
        return fresh[0]
    data: Any = json.loads(given.body) if given.body else None
    return Response(
        data,
        status=given.status,
        headers={"Idempotency-Replayed": "true", "Cache-Control": "no-store"},
    )


def _owner(request: Request) -> str:
    if isinstance(request.auth, ApiToken):
        return f"token {request.auth.digest}"
    return f"person {request.user.pk}"


def _what(request: Request) -> bytes:
    head = f"{request.method} {request.get_full_path()}\0"
    return head.encode() + request._request.body
