"""How often one may ask: GUARD_API_RATE requests a minute for each token, each person, and each
address (a network of 64 bits with IPv6) that requests come from without either.

Counted in Redis, with one round trip. Where Redis is away, everybody may pass: a limit that stops
the work is worse than none.
"""

from __future__ import annotations

import ipaddress
import time
from dataclasses import dataclass
from functools import cache
from typing import Any

import redis
import structlog
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from mdm.accounts.models import ApiToken

log = structlog.get_logger(__name__)

MINUTE = 60
_PATIENCE = 0.25


@dataclass(frozen=True, slots=True)
class Spent:
    """How much of a minute's budget is left, and for how many seconds the minute lasts."""

    budget: int
    used: int
    seconds: int

    @property
    def left(self) -> int:
        return max(self.budget - self.used, 0)

    @property
    def over(self) -> bool:
        return self.used > self.budget


class Budget(BaseThrottle):
    """Lets a request of someone who is known pass while their minute's budget lasts."""

    def allow_request(self, request: Request, view: Any) -> bool:
        plain: Any = request._request
        # Asked twice for a request: before what one may do is looked at, and after.
        if not hasattr(plain, "guard_spent"):
            plain.guard_spent = spend(_who(request))
        self.spent: Spent = plain.guard_spent
        return not self.spent.over

    def wait(self) -> float:
        return self.spent.seconds


def stranger(request: Any) -> Spent:
    """Count a request that came with no token or session, or with one that does not count. Whoever
    has a good one is never held up by others at the same address.
    """
    plain = request._request
    # Without a token or session, `Budget` has counted it already.
    if not hasattr(plain, "guard_spent"):
        plain.guard_spent = spend(_whence(request))
    spent: Spent = plain.guard_spent
    return spent


def spend(who: str) -> Spent:
    """Count one request of `who`."""
    minute, second = divmod(int(time.time()), MINUTE)
    key = f"api-rate:{who}:{minute}"
    used = 0
    try:
        counting = _redis().pipeline(transaction=False)
        counting.incr(key)
        counting.expire(key, MINUTE)
        used = int(counting.execute()[0])
    except redis.RedisError as error:
        log.warning("api_rate_not_counted", error=str(error))
    return Spent(settings.ENV.api_rate, used, MINUTE - second)


def tell(request: Request, response: Any) -> None:
    """Let an answer say what is left."""
    spent: Spent | None = getattr(request._request, "guard_spent", None)
    if spent is not None:
        response["RateLimit-Policy"] = f'"requests";q={spent.budget};w={MINUTE}'
        response["RateLimit"] = f'"requests";r={spent.left};t={spent.seconds}'


def _who(request: Request) -> str:
    if isinstance(request.auth, ApiToken):
        return f"token:{request.auth.digest[:32]}"
    if request.user.is_authenticated:
        return f"person:{request.user.pk}"
    return _whence(request)


def _whence(request: Request) -> str:
    """The address or, for IPv6, its network: whoever has one has 2^64 addresses in it."""
    address = request.META.get("REMOTE_ADDR", "")[:64]
    try:
        found = ipaddress.IPv6Address(address)
    except ValueError:
        return f"address:{address}"
    if found.ipv4_mapped:
        return f"address:{found.ipv4_mapped}"
    return f"address:{ipaddress.IPv6Network((int(found), 64), strict=False)}"


@cache
def _redis() -> redis.Redis:
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=_PATIENCE,
        socket_connect_timeout=_PATIENCE,
        retry=Retry(NoBackoff(), 0),
    )
