"""Faults that the stand-in for Apple's Device Enrollment service plays to order; what happens
without one is in `lab.dep.service`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from lab import faults


class FaultKind(StrEnum):
    """The value is the word for the command line."""

    TERMS = "terms"
    TOKEN_EXPIRED = "token-expired"
    TOKEN_REJECTED = "token-rejected"
    ACCESS_DENIED = "access-denied"
    FORBIDDEN = "forbidden"
    STALE_SESSION = "stale-session"
    TOO_MANY_REQUESTS = "429"
    INTERNAL_ERROR = "500"
    UNAVAILABLE = "503"
    SLOW = "slow"
    RESET = "reset"
    CUT = "cut"
    AFTER = "after"
    NONSENSE = "nonsense"
    WRONG_SHAPE = "wrong-shape"
    HTML = "html"
    STUCK_CURSOR = "stuck-cursor"
    EXPIRED_CURSOR = "expired-cursor"
    INVALID_CURSOR = "invalid-cursor"
    EXHAUSTED_CURSOR = "exhausted-cursor"
    DUPLICATES = "duplicates"
    LOSSY = "lossy"
    FAILED = "failed"
    THROTTLED = "throttled"
    NOT_ACCESSIBLE = "not-accessible"

    @classmethod
    def named(cls, word: str) -> FaultKind:
        """Raises UnknownFault, naming the words there are."""
        return faults.named(cls, "portal", word)


SESSION = "/session"
FETCH, SYNC = "/server/devices", "/devices/sync"
PAGED = frozenset({FETCH, SYNC})
_PER_SERIAL = frozenset({"/devices", "/devices/disown", "/profile", "/profile/devices"})

IN_PAGES = frozenset({FaultKind.STUCK_CURSOR, FaultKind.DUPLICATES, FaultKind.LOSSY})
PER_SERIAL = frozenset({FaultKind.FAILED, FaultKind.THROTTLED, FaultKind.NOT_ACCESSIBLE})
CURSOR_ERRORS = frozenset(
    {FaultKind.EXPIRED_CURSOR, FaultKind.INVALID_CURSOR, FaultKind.EXHAUSTED_CURSOR}
)
OF_A_REQUEST = frozenset(FaultKind) - IN_PAGES - PER_SERIAL
_PLACES: dict[FaultKind, frozenset[str]] = {
    FaultKind.STUCK_CURSOR: PAGED,
    FaultKind.DUPLICATES: frozenset({SYNC}),
    FaultKind.LOSSY: frozenset({SYNC}),
    **dict.fromkeys(CURSOR_ERRORS, PAGED),
    **dict.fromkeys(PER_SERIAL, _PER_SERIAL),
}
_ONLY_WITHIN_A_SESSION = frozenset({FaultKind.FORBIDDEN, FaultKind.STALE_SESSION})


@dataclass
class Fault:
    """`count` requests are spoiled, every one when it is None. `endpoint` (a path such as
    /devices/sync), `server` (the name of an MDM server) and `serials` limit it. `seconds` is how
    slow SLOW is, the Retry-After of 429 and 503, and the retry_after_seconds of THROTTLED; None
    leaves those out."""

    kind: FaultKind
    count: int | None = 1
    endpoint: str | None = None
    server: str | None = None
    serials: frozenset[str] | None = None
    seconds: float | None = None

    def fits(self, path: str, server: str | None) -> bool:
        """Whether it happens to a request for `path` by an MDM server of this name."""
        if self.server is not None and self.server != server:
            return False
        if self.endpoint is not None:
            return self.endpoint == path
        if self.kind in _ONLY_WITHIN_A_SESSION:
            return path != SESSION
        places = _PLACES.get(self.kind)
        return places is None or path in places

    def concerns(self, serial: str) -> bool:
        return self.serials is None or serial in self.serials

    def json(self) -> dict[str, object]:
        return {
            "kind": str(self.kind),
            "count": self.count,
            "endpoint": self.endpoint,
            "server": self.server,
            "serials": sorted(self.serials) if self.serials is not None else None,
            "seconds": self.seconds,
        }


class FaultBoard(faults.FaultBoard[Fault]):
    """Faults of the enrollment service."""

    def take_for(
        self,
        path: str,
        server: str | None,
        kinds: Collection[FaultKind],
        serials: Collection[str] | None = None,
    ) -> Fault | None:
        """The first fault of one of the `kinds` for this request, counted as used. With `serials`
        it must concern one of them."""
        return self.take(
            lambda fault: (
                fault.kind in kinds
                and fault.fits(path, server)
                and (serials is None or any(map(fault.concerns, serials)))
            )
        )
