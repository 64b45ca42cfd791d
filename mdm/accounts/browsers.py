"""Browsers that someone has signed in with: a cookie says whose and which, signed by the server.

It lets nobody in. It parts those who can only have been there before from those who guess.
"""

from __future__ import annotations

import secrets
from datetime import timedelta

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.core import signing
from django.db.models import Q
from django.http import HttpRequest, HttpResponse

from mdm.accounts.models import User

COOKIE = "guard_browser"
LIFETIME = timedelta(days=180)
_SALT = "guard.browser"


def known(request: HttpRequest, login: str) -> str | None:
    """This browser's name, if it is known for the person whose user name or mail address `login`
    is; else None.
    """
    try:
        kept = signing.loads(request.COOKIES.get(COOKIE, ""), salt=_SALT, max_age=LIFETIME)
        user_id, name = int(kept[0]), str(kept[1])
    except (signing.BadSignature, ValueError, TypeError, LookupError):
        return None
    login = login.replace("\0", "")
    same = Q(username__iexact=login) | Q(email__iexact=login)
    return f"{user_id}:{name}" if User.objects.filter(same, pk=user_id).exists() else None


def remember(request: HttpRequest, response: HttpResponse, user: AbstractBaseUser) -> None:
    """Know this browser for `user` from now on."""
    response.set_cookie(
        COOKIE,
        signing.dumps([user.pk, secrets.token_urlsafe(12)], salt=_SALT),
        max_age=LIFETIME,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )
