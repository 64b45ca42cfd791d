"""Sends what is due to webhooks: signed, at least once, each receiver at its own pace.

Nothing here depends on a task being delivered: what is due stands in `Delivery.due_at`, and every
run looks there. A worker that is killed delays what it had by the lease.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

import structlog
from django.conf import settings
from django.db import connection
from django.utils import timezone

from mdm import outbound, secrets
from mdm.webhooks import deliveries, kinds, signing, subscriptions
from mdm.webhooks.deliveries import Claim, State
from mdm.webhooks.models import Subscription

# After how long each next try is; about three days in all.
DELAYS = tuple(
    timedelta(seconds=seconds)
    for seconds in (5, 30, 120, 600, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 72_000)
)
_JITTER = 0.2
# A receiver is not asked any more where an event used up its tries, and nothing else arrived for so
# long: a little less than all tries take at least, and more than any wait between two.
GIVE_UP_AFTER = timedelta(days=2)

_AT_ONCE = 32
_BUDGET = timedelta(seconds=20)
_LOOK_EVERY = 0.05
_SPREAD_EVERY = 1.0
_RUNS = 2
_LOCK = 0x57454253

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One try: the receiver's status, or the trouble that kept it from answering."""

    status: int | None
    said: str
    trouble: str
    at: datetime
    seconds: float

    @property
    def delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def gone(self) -> bool:
        return self.status == HTTPStatus.GONE

    def row(self) -> dict[str, Any]:
        return {
            "at": self.at.isoformat(),
            "status": self.status,
            "ms": round(self.seconds * 1000),
            "said": self.said,
            "trouble": self.trouble,
        }


def send_due(*, budget: timedelta = _BUDGET) -> int:
    """Lay out new events and send what is due; returns how many tries were made.

    Ends when nothing is due any more, or when `budget` is used up. Any number of workers may call
    it: two at most are at work. Not to be called inside a transaction: it commits as it goes.
    """
    with _turn() as mine:
        return _Run(budget).go() if mine else 0


class _Run:
    """One call of `send_due`: lay out, claim, send, settle, until there is nothing left to do."""

    def __init__(self, budget: timedelta) -> None:
        self._ends_at = time.monotonic() + budget.total_seconds()
        self._spread_at = 0.0
        self._flying: dict[Future[Outcome], Claim] = {}
        self._sent = 0

    def go(self) -> int:
        try:
            with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="webhook") as pool:
                while True:
                    self._spread()
                    taken = self._take(pool)
                    if self._flying:
                        self._settle(wait(self._flying, _LOOK_EVERY, FIRST_COMPLETED).done)
                    elif not taken:
                        return self._sent
        finally:
            # Whatever ended this run: the pool waited for what was being sent, and it must not be
            # sent again.
            self._settle(list(self._flying))

    def _settle(self, done: Iterable[Future[Outcome]]) -> None:
        for future in done:
            _land(self._flying.pop(future), future.result())
            self._sent += 1

    def _spread(self) -> None:
        if time.monotonic() < min(self._spread_at + _SPREAD_EVERY, self._ends_at):
            return
        self._spread_at = time.monotonic()
        while deliveries.spread() and time.monotonic() < self._ends_at:
            pass

    def _take(self, pool: ThreadPoolExecutor) -> int:
        """Claim what there is room for and start sending; returns how many were claimed."""
        room = _AT_ONCE - len(self._flying)
        if room <= 0 or time.monotonic() > self._ends_at:
            return 0
        taken = deliveries.claim(room)
        for one in taken:
            self._flying[pool.submit(_send, one)] = one
        return len(taken)


def _send(claim: Claim) -> Outcome:
    """One try, in a thread that has nothing to do with the database."""
    at, begun = timezone.now(), time.monotonic()
    status, said, trouble = None, "", ""
    try:
        # The same bytes at each try.
        whole = claim.event.as_sent()
        body = json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode()
        answer = outbound.post(
            claim.url,
            body,
            _headers(claim, body),
            settings.ENV.webhook_networks,
            # Its address may be older than that this is production.
            plain=not settings.ENV.production,
        )
        status, said = answer.status, answer.said
    except (outbound.OutboundError, secrets.Unsealable) as error:
        trouble = str(error)
    except Exception as error:
        # One delivery that goes wrong in a way of its own must not end the others.
        _log.exception("A webhook was not sent", delivery=claim.id)
        trouble = f"This server failed: {type(error).__name__}."
    return Outcome(status, said, trouble[:300], at, time.monotonic() - begun)


def _headers(claim: Claim, body: bytes) -> dict[str, str]:
    known = [secrets.unseal(subscriptions.SECRET, each).decode() for each in claim.sealed_secrets]
    return {
        "Content-Type": "application/json",
        "User-Agent": "GuardMDM",
        **signing.headers(claim.event.public_id, int(time.time()), body, known),
    }


def _land(claim: Claim, outcome: Outcome) -> None:
    """Write what came of a try, and what follows for the webhook."""
    state, again = _verdict(claim, outcome)
    if not deliveries.settle(claim, state, again, outcome.row()):
        return
    # A test is tried once, which says little of the receiver.
    if outcome.delivered or not _is_test(claim):
        deliveries.note(claim.subscription, delivered=outcome.delivered)
    if outcome.gone:
        subscriptions.give_up(
            claim.subscription, "The receiver answered 410: it wants no events any more."
        )
    elif state == State.FAILED and not _is_test(claim) and _failing_for_days(claim.subscription):
        subscriptions.give_up(claim.subscription, "Nothing was delivered for about 3 days.")


def _verdict(claim: Claim, outcome: Outcome) -> tuple[State, timedelta]:
    if outcome.delivered:
        return State.DELIVERED, timedelta()
    # Whoever tries a webhook wants to know how it stands now.
    if outcome.gone or _is_test(claim) or claim.tries >= len(DELAYS):
        return State.FAILED, timedelta()
    # Not all of those that failed together come back together.
    spread = 1 + random.uniform(-_JITTER, _JITTER)  # noqa: S311 - nobody gains by guessing it
    return State.WAITING, DELAYS[claim.tries] * spread


def _is_test(claim: Claim) -> bool:
    return claim.event.kind == kinds.TEST.name


def _failing_for_days(subscription: int) -> bool:
    since = timezone.now() - GIVE_UP_AFTER
    rows = Subscription.objects.filter(pk=subscription, active=True)
    return rows.filter(failing_since__lt=since).exists()


@contextmanager
def _turn() -> Iterator[bool]:
    """Whether one of the few turns is ours; it ends with the block, or with the process."""
    with connection.cursor() as cursor:
        for number in range(_RUNS):
            cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [_LOCK, number])
            if cursor.fetchone() == (True,):
                break
        else:
            yield False
            return
        try:
            yield True
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [_LOCK, number])
