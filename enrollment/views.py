"""The page behind an enrollment link, for whoever holds the device: no sign-in, plain words."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from enrollment import links, profiles
from enrollment.errors import Closed, EnrollmentError, NotReady, UnknownLink
from enrollment.wire.profile import MIME_TYPE

_ASK = "Ask the person who gave you the link for a new one."
_LATER = "Try the same link again later; it stays good."

View = Callable[[HttpRequest, str], HttpResponse]


def _explained(view: View) -> View:
    """Show why a link does not work as a page: 404, 410, or 503 while the server is not ready."""

    @wraps(view)
    def explained(request: HttpRequest, token: str) -> HttpResponse:
        try:
            return view(request, token)
        except UnknownLink as error:
            return _sorry(request, error, "This link does not exist", _ASK, 404)
        except Closed as error:
            return _sorry(request, error, "This link no longer works", _ASK, 410)
        except NotReady as error:
            return _sorry(request, error, "Not ready yet", _LATER, 503)

    return explained


@require_safe
@never_cache
@_explained
def page(request: HttpRequest, token: str) -> HttpResponse:
    """What enrolling means, the download, and the steps on each kind of device."""
    link = links.follow(token)
    profiles.current_topic()
    context = {
        "link": link,
        "token": token,
        "organization": settings.ENV.organization,
        "on_mac": "Macintosh" in request.headers.get("User-Agent", ""),
    }
    return render(request, "enrollment/page.html", context)


@require_safe
@never_cache
@_explained
def download(request: HttpRequest, token: str) -> HttpResponse:
    """The signed enrollment profile; each download holds a challenge of its own."""
    link = links.follow(token)
    if request.method == "HEAD":
        return HttpResponse(content_type=MIME_TYPE)
    response = HttpResponse(profiles.for_link(link), content_type=MIME_TYPE)
    response["Content-Disposition"] = 'attachment; filename="enroll.mobileconfig"'
    return response


def _sorry(
    request: HttpRequest, error: EnrollmentError, title: str, advice: str, status: int
) -> HttpResponse:
    context = {
        "title": title,
        "reason": str(error),
        "advice": advice,
        "organization": settings.ENV.organization,
    }
    return render(request, "enrollment/sorry.html", context, status=status)
