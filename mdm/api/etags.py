"""Validators: the ETag of an answer is a digest of what it says, so it changes whenever that does.

With `?fields=` it is of these fields alone, and so is what If-Match compares with: a client that
acts upon some fields is not held up by a change of others, such as the time of the last contact.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from typing import Any

from rest_framework import status
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response


def of(data: Any) -> str | None:
    """The ETag of what an answer says; None where it says nothing."""
    return None if data is None else _tag(JSONRenderer().render(data))


def validate(request: Request, response: Response) -> Response:
    """`response` with its ETag, or a 304 where the client has it already."""
    response.render()
    tag = _tag(response.content)
    wanted = request.headers.get("If-None-Match")
    if wanted is not None and _among(wanted, tag, weak=True):
        same = Response(status=status.HTTP_304_NOT_MODIFIED)
        for name in ("accepted_renderer", "accepted_media_type", "renderer_context"):
            setattr(same, name, getattr(response, name))
        for name, value in response.items():
            if name not in {"Content-Type", "Content-Length"}:
                same[name] = value
        response = same
    response["ETag"] = tag
    # To be asked about again each time, which costs no more than a 304.
    response.setdefault("Cache-Control", "private, no-cache")
    return response


def matches(wanted: str, tag: str | None) -> bool:
    """Whether an If-Match header holds for what has this ETag, or for nothing."""
    return tag is not None and _among(wanted, tag, weak=False)


def _tag(content: bytes) -> str:
    return f'"{urlsafe_b64encode(hashlib.sha256(content).digest()[:18]).decode()}"'


def _among(header: str, tag: str, *, weak: bool) -> bool:
    """A weak validator matches where weak is enough: a proxy that compresses makes it weak."""
    given = [each.strip() for each in header.split(",")]
    if weak:
        given = [each.removeprefix("W/") for each in given]
    return tag in given or "*" in given
