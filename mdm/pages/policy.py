"""What pages may ask of the browser: the camera, to scan a serial number, and nothing else of what
tells where and who someone is.
"""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

_POLICY = "camera=(self), geolocation=(), microphone=()"


def middleware(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    def with_policy(request: HttpRequest) -> HttpResponseBase:
        answer = get_response(request)
        answer.headers.setdefault("Permissions-Policy", _POLICY)
        return answer

    return with_policy
