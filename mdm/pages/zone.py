"""The zone of whoever looks at a page: their browser says it in a cookie that `theme.js` keeps.

The API and everything that no person looks at stay in UTC, and so does a page without the cookie.
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Callable
from datetime import tzinfo
from functools import cache

from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

COOKIE = "zone"
# What programs read is the same for everyone.
_IN_UTC = ("/api/",)


def middleware(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    def in_the_viewers_zone(request: HttpRequest) -> HttpResponseBase:
        with timezone.override(None if request.path.startswith(_IN_UTC) else zone_of(request)):
            return get_response(request)

    return in_the_viewers_zone


def zone_of(request: HttpRequest) -> tzinfo | None:
    """The zone that the browser named, or None where it named none that there is."""
    name = request.COOKIES.get(COOKIE, "")
    return zoneinfo.ZoneInfo(name) if name in _names() else None


@cache
def _names() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())
