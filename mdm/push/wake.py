"""Waking enrollments: `wake` notes whom, in the caller's transaction; `wake_due` pushes to whoever
is due. The rows are kept by `claims.py`, Apple's answers judged in `verdict.py`.

Nothing here depends on a task being delivered: who is to be woken stands in `wake_at`, and every
run of `wake_due` looks there.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from datetime import timedelta

import structlog
from django.conf import settings
from django.db import connection
from django.utils import timezone

from mdm import secrets
from mdm.models import Enrollment, PushCertificate
from mdm.push import certificate as certificates
from mdm.push import claims, verdict
from mdm.push.apns import Apns, Limits
from mdm.push.claims import Claim
from mdm.push.courier import courier
from mdm.push.publish import call_worker_on_commit
from mdm.push.tls import client_context
from mdm.push.transport import Outcome, Push, Unreachable
from mdm.push.verdict import Verdict

# How long Apple keeps a push for a device that is away.
EXPIRATION = timedelta(days=7)
# While no push can succeed, one push is tried this often.
PROBE_EVERY = timedelta(seconds=15)
LIMITS = Limits()
_BUDGET = timedelta(seconds=20)
_LOOK_EVERY = 0.05
# Runs at the same time, over all workers: more would keep them from their other work while
# Apple is slow.
_RUNS = 2
_LOCK = 0x57414B45

_log = structlog.get_logger(__name__)

_Flying = dict[Future[Outcome], Claim]


def wake(enrollment_ids: Iterable[int], *, refused_too: bool = False) -> int:
    """Have these enrollments pushed to from when this transaction commits; returns how many.

    GUARD_WAKE_RATE of them are due each second, so that a command to all devices does not bring
    all of them here at once, and what is asked of one device meanwhile does not wait behind them.
    Call it in the transaction that gives them something to fetch. Any number of ids is one
    statement. Left out are enrollments that have ended, and those whose token Apple has refused,
    until their next TokenUpdate or with `refused_too`. An enrollment that was pushed to a moment
    ago waits out the debounce (2 s), so that a burst of commands is one push.
    """
    ids = list(enrollment_ids)
    rate = settings.ENV.wake_rate
    count = claims.want(ids, rate=rate, refused_too=refused_too) if ids else 0
    if count:
        call_worker_on_commit()
    return count


def wake_due(limit: int = 500, *, budget: timedelta = _BUDGET) -> int:
    """Push to every enrollment that is due, up to `limit` at once; returns how many were settled.

    Ends when nobody is due any more, when `budget` is used up, or when no push can succeed; then
    the rest stays due. Any number of workers may call it: two at most are at work, each on
    enrollments of its own. Not to be called inside a transaction: it commits as it goes.
    """
    with _turn() as mine:
        return _Run(limit, budget).go() if mine else 0


class _Run:
    """One call of `wake_due`: claim, send, settle, until there is nothing left to do."""

    def __init__(self, limit: int, budget: timedelta) -> None:
        self._limit = limit
        self._ends_at = time.monotonic() + budget.total_seconds()
        self._flying: _Flying = {}
        self._settled = 0
        self._certificate = certificates.active()
        # Before the certificate is used by hundreds again, one push shows that it works.
        self._probing = bool(self._certificate and self._certificate.problem)
        self._over = self._probing and not self._probe_is_due()

    def go(self) -> int:
        while True:
            taken = self._take()
            if self._flying:
                wait(self._flying, timeout=_LOOK_EVERY)
                self._land([future for future in self._flying if future.done()])
            elif not taken:
                return self._settled

    def _take(self) -> int:
        """Claim what there is room for and start sending; returns how many were claimed."""
        room = (1 if self._probing else self._limit) - len(self._flying)
        if room <= 0 or self._over or time.monotonic() > self._ends_at:
            return 0
        taken = claims.claim(room)
        sendable: list[tuple[Claim, Push]] = []
        grounded: list[tuple[Claim, Verdict]] = []
        for one in taken:
            push = _push(one, self._certificate)
            if isinstance(push, Push):
                sendable.append((one, push))
            else:
                grounded.append((one, push))
        self._settle(grounded)
        self._send(sendable)
        return len(taken)

    def _send(self, sendable: Sequence[tuple[Claim, Push]]) -> None:
        if not sendable or self._certificate is None:
            return
        pushes = [push for _, push in sendable]
        for (one, _), future in zip(sendable, _start(self._certificate, pushes), strict=True):
            self._flying[future] = one

    def _land(self, done: Sequence[Future[Outcome]]) -> None:
        landed: list[tuple[Claim, Verdict]] = []
        for future in done:
            one = self._flying.pop(future)
            result = future.exception() or future.result()
            landed.append((one, verdict.judge(result, one.history)))
        self._settle(landed)
        self._heed([ruled for _, ruled in landed])

    def _settle(self, verdicts: Sequence[tuple[Claim, Verdict]]) -> None:
        if verdicts:
            claims.settle(verdicts)
            self._settled += len(verdicts)

    def _heed(self, ruled: Sequence[Verdict]) -> None:
        """Stop where no push can succeed, and say so; go on at full speed where one could."""
        if self._certificate is None or not ruled:
            return
        trouble = next((one.trouble for one in ruled if one.trouble), "")
        if trouble:
            self._over = True
            certificates.note_problem(self._certificate, trouble)
        elif self._probing:
            self._probing = False
            certificates.clear_problem(self._certificate)

    def _probe_is_due(self) -> bool:
        at = self._certificate.problem_at if self._certificate else None
        return at is None or at < timezone.now() - PROBE_EVERY


def _push(one: Claim, certificate: PushCertificate | None) -> Push | Verdict:
    """The push to send, or why there is none to send."""
    if one.state != Enrollment.State.ENROLLED or one.sealed_push_token is None:
        return verdict.NOBODY
    if certificate is None:
        return verdict.later("There is no push certificate", one.history)
    if one.topic != certificate.topic:
        return verdict.later("The push certificate has another topic than the device", one.history)
    try:
        token = secrets.unseal("push_token", one.sealed_push_token)
    except secrets.Unsealable as error:
        return verdict.later(f"The push token is sealed: {error}", one.history)
    expiration = int(time.time() + EXPIRATION.total_seconds())
    return Push(token.hex(), one.push_magic, certificate.topic, expiration)


def _start(certificate: PushCertificate, pushes: Sequence[Push]) -> list[Future[Outcome]]:
    """Hand the pushes to this process's courier. A certificate that cannot be used at all is the
    same trouble as a service that cannot be reached."""
    url, ca = settings.ENV.apns_url, settings.ENV.apns_ca
    try:
        return courier().send((certificate.pk, url, ca), _transport(certificate), pushes)
    except (secrets.Unsealable, ssl.SSLError, OSError, ValueError) as error:
        _log.error("The push certificate cannot be used", error=str(error))
        failed: list[Future[Outcome]] = []
        for _ in pushes:
            future: Future[Outcome] = Future()
            future.set_exception(Unreachable(f"the push certificate cannot be used: {error}"))
            failed.append(future)
        return failed


def _transport(certificate: PushCertificate) -> Callable[[], Apns]:
    def make() -> Apns:
        key = secrets.unseal("push_key", certificate.sealed_key)
        ca = settings.ENV.apns_ca
        context = client_context(certificate.certificate.encode(), key, ca=ca)
        return Apns(settings.ENV.apns_url, context, LIMITS)

    return make


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
