"""Idempotency keys: a client that does not know whether its request arrived sends it again, and it
is done once.

The row with the answer is written in the transaction of the act itself, which is open around the
domain's own. So the two are there together or not at all: a process that is killed in between
leaves neither, and the next try acts anew. That a first try still runs is told by an advisory lock
of that transaction, which goes with it, however it ends; nothing can stay locked. What fails has
done nothing and is not kept: the same key may then try again, with what was mended.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from django.db import connection, transaction
from django.db.models import Count, Sum
from django.utils import timezone

from mdm.accounts.models import KeptAnswer, User
from mdm.secrets import seal, unseal

KEPT_FOR = timedelta(hours=24)
# For each person, all their tokens together.
MOST_ANSWERS = 10_000
MOST_BYTES = 64 * 1024 * 1024
# What is larger is not kept, only that it was given.
LARGEST = 1024 * 1024

_LOCK = 0x4F4E4345
_PURPOSE = "kept-answer"


class NotDone(Exception):
    """Why an act is not done under its key."""


class StillRunning(NotDone):
    """The first request with this key has not ended."""


class AnotherRequest(NotDone):
    """The key was used for another request."""


class AnswerNotKept(NotDone):
    """It was done, and its answer was too large to be kept."""


class TooMany(NotDone):
    """This person has as many answers kept as there may be."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered."""

    status: int
    body: bytes


def once(
    user: User, owner: str, key: str, request: bytes, act: Callable[[], Answer]
) -> tuple[Answer, bool]:
    """The answer of `act`, and whether it was given before: to `owner`, a token or a person, under
    this `key`. `request` says all that makes it the same request.

    Raises a NotDone, and whatever `act` raises, which then did nothing.
    """
    name = hashlib.sha256(f"{owner}\0{key}".encode()).digest()
    asked = hashlib.sha256(request).digest()
    with transaction.atomic():
        _alone(name)
        kept = KeptAnswer.objects.filter(name=name).first()
        if kept is not None and kept.at > timezone.now() - KEPT_FOR:
            return _again(kept, asked), True
        if kept is not None:
            kept.delete()
        _make_sure_there_is_room(user)
        answer = act()
        sealed = seal(_PURPOSE, zlib.compress(answer.body))
        fits = len(sealed) <= LARGEST
        KeptAnswer.objects.create(
            user=user,
            name=name,
            request=asked,
            status=answer.status,
            sealed=sealed if fits else None,
            size=len(sealed) if fits else 0,
        )
    return answer, False


def _alone(name: bytes) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_try_advisory_xact_lock(%s, %s)",
            [_LOCK, int.from_bytes(name[:4], "big", signed=True)],
        )
        if cursor.fetchone() != (True,):
            raise StillRunning("The first request with this Idempotency-Key is still running.")


def _again(kept: KeptAnswer, asked: bytes) -> Answer:
    if bytes(kept.request) != asked:
        raise AnotherRequest(
            "This Idempotency-Key was used for another request: choose a new one for each."
        )
    if kept.sealed is None:
        raise AnswerNotKept(
            "This was done when it came first. Its answer was too large to be kept: look at what"
            " came of it instead."
        )
    return Answer(kept.status, zlib.decompress(unseal(_PURPOSE, kept.sealed)))


def _make_sure_there_is_room(user: User) -> None:
    mine = KeptAnswer.objects.filter(user=user, at__gt=timezone.now() - KEPT_FOR)
    there = mine.aggregate(count=Count("pk"), size=Sum("size"))
    if there["count"] >= MOST_ANSWERS or (there["size"] or 0) >= MOST_BYTES:
        raise TooMany(
            f"As many answers are kept for you as there may be ({MOST_ANSWERS:,} in 24 hours): go"
            " on without an Idempotency-Key, or wait."
        )
