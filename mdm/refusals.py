"""What is refused at the device endpoints: why, with which status, counted and summed up.

A refusal changes nothing but its own count. Counts are gathered per process and written at most
every few seconds, so that nobody can make the database work by sending rubbish.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import structlog
from django.db import Error, connection
from django.utils import timezone

log = structlog.get_logger(__name__)

WRITE_EVERY = 5.0


class Refused(Exception):
    """A device's request is refused. `reason` is a stable slug, `status` the HTTP status.

    Never 401: to a device that means "remove your management".
    """

    def __init__(self, reason: str, detail: str, *, status: int = 403) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.status = status


@dataclass(slots=True)
class _Sum:
    count: int
    last_at: datetime
    address: str
    detail: str


class Tally:
    """Refusals of this process that are not yet written."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: dict[tuple[str, datetime], _Sum] = {}
        self._written_at: datetime | None = None

    def add(self, reason: str, *, address: str, detail: str) -> None:
        """Count one refusal, and write the sums when the last writing is long enough ago."""
        now = timezone.now()
        hour = now.replace(minute=0, second=0, microsecond=0)
        with self._lock:
            known = self._sums.setdefault((reason, hour), _Sum(0, now, "", ""))
            known.count += 1
            known.last_at, known.address, known.detail = now, address[:64], detail[:300]
            due = (
                self._written_at is None or (now - self._written_at).total_seconds() >= WRITE_EVERY
            )
        if due:
            self.write()

    def write(self) -> None:
        """Add the gathered sums to the table. What cannot be written now is kept for later."""
        try:
            self.take_and_write()
        except Error as error:
            log.warning("refusals_not_written", error=str(error))

    def take_and_write(self) -> None:
        """As `write`; raises Error, the sums kept."""
        with self._lock:
            sums, self._sums = self._sums, {}
            self._written_at = timezone.now()
        try:
            _upsert(sums.items())
        except Error:
            with self._lock:
                for key, value in sums.items():
                    known = self._sums.setdefault(key, value)
                    if known is not value:
                        known.count += value.count
            raise


def _upsert(sums: Collection[tuple[tuple[str, datetime], _Sum]]) -> None:
    if not sums:
        return
    with connection.cursor() as cursor:
        for (reason, hour), value in sums:
            cursor.execute(
                """
                INSERT INTO mdm_refusal AS r
                    (reason, hour, count, last_at, last_address, last_detail)
                VALUES (%s, %s, %s, %s, %s, %s)
                ON CONFLICT (reason, hour) DO UPDATE SET
                    count = r.count + EXCLUDED.count, last_at = EXCLUDED.last_at,
                    last_address = EXCLUDED.last_address, last_detail = EXCLUDED.last_detail
                """,
                [reason, hour, value.count, value.last_at, value.address, value.detail],
            )


tally = Tally()


@atexit.register
def _write_the_rest() -> None:
    # At the very end nobody is left to read a complaint; the database may be gone already.
    with suppress(Exception):
        tally.take_and_write()


def refuse(refusal: Refused, *, address: str) -> None:
    """Log and count a refusal."""
    log.warning("refused", reason=refusal.reason, detail=refusal.detail, address=address)
    tally.add(refusal.reason, address=address, detail=refusal.detail)
