"""Telling Apple which profile each device gets: whatever Apple answers and whoever interferes, it
ends with what is wanted.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django import Settings

from abm import differences, sync
from abm.models import AbmDevice, Assigning, Definition, LedgerEntry, Server, SyncRun, Wish
from lab.dep import Clock
from lab.dep.faults import FaultKind
from tests.abm.apple import Apple, apple
from tests.abm.assigning import define, hours_pass, start, told, wish
from tests.abm.patience import PATIENT

# So many stories that nobody has played yet, in place of those that are always played.
EXPLORE = int(os.environ.get("STORMS", "0"))

pytestmark = pytest.mark.django_db(transaction=True)

_SERIAL_FAULTS = (FaultKind.FAILED, FaultKind.THROTTLED, FaultKind.NOT_ACCESSIBLE)
_PASSING = (
    *(FaultKind.AFTER, FaultKind.RESET, FaultKind.CUT, FaultKind.UNAVAILABLE),
    *(FaultKind.INTERNAL_ERROR, FaultKind.TOO_MANY_REQUESTS, FaultKind.STALE_SESSION),
    *(FaultKind.NONSENSE, FaultKind.FORBIDDEN),
)
_which = st.integers(0, 7)
_story = st.lists(
    st.one_of(
        st.tuples(st.just("wish"), _which, st.integers(-1, 2)),
        st.tuples(st.just("wish"), _which, st.integers(-1, 2)),
        st.tuples(st.just("tell")),
        st.tuples(st.just("tell")),
        st.tuples(st.just("sync")),
        st.tuples(st.just("answer"), _which, st.sampled_from(_SERIAL_FAULTS), st.booleans()),
        st.tuples(
            st.just("trouble"),
            st.sampled_from(_PASSING),
            st.sampled_from((None, "/profile", "/profile/devices", "/devices", "/session")),
        ),
        st.tuples(st.just("remove"), _which),
        st.tuples(st.just("take"), _which),
        st.tuples(st.just("forget"), st.integers(0, 2)),
        st.tuples(st.just("hours"), st.sampled_from((0.5, 2.0, 30.0))),
    ),
    min_size=6,
    max_size=30,
)


@dataclass
class Story:
    """Eight devices, three profiles, and what happens to them."""

    apple: Apple
    server: Server
    serials: list[str]
    definitions: list[Definition]

    def play(self, step: tuple[Any, ...]) -> None:
        getattr(self, f"_{step[0]}")(*step[1:])

    def settle(self) -> None:
        """Apple answers again, and days pass."""
        self.apple.stand_in.faults.clear()
        for _ in range(4):
            hours_pass(100)
            self._sync()
            self._tell()

    def _wish(self, which: int, number: int) -> None:
        listed = AbmDevice.objects.filter(
            server=self.server, serial_number=self.serials[which], removed_at=None
        )
        if listed.exists():
            wish(
                self.server, self.serials[which], self.definitions[number] if number >= 0 else None
            )

    def _tell(self) -> None:
        told(self.server)

    def _sync(self) -> None:
        sync.sync(self.server.pk, PATIENT)
        Wish.objects.filter(listed__removed_at__isnull=False).delete()

    def _answer(self, which: int, kind: FaultKind, says: bool) -> None:
        self.apple.order(
            kind,
            endpoint="/profile/devices",
            serials=frozenset({self.serials[which]}),
            seconds=3600.0 if says else None,
        )

    def _trouble(self, kind: FaultKind, path: str | None) -> None:
        self.apple.order(kind, count=2, endpoint=path)

    def _remove(self, which: int) -> None:
        """Someone takes its profile away in the portal, or the device was erased with it."""
        self.apple.clock.move(1)
        self.apple.portal.change(self.serials[which], profile_status="removed")

    def _take(self, which: int) -> None:
        """Another tool gives it a profile of its own."""
        self.apple.clock.move(1)
        self.apple.portal.change(
            self.serials[which], profile_status="assigned", profile_uuid="F" * 32
        )

    def _forget(self, number: int) -> None:
        """Apple does not know a profile any more."""
        uuid = Definition.objects.get(pk=self.definitions[number].pk).profile_uuid
        self.apple.portal.profiles.pop(uuid, None)

    def _hours(self, hours: float) -> None:
        hours_pass(hours)

    def differing(self) -> list[tuple[str, str, str]]:
        """Devices that have something else at Apple than they should, after all."""
        found = []
        for each in Wish.objects.select_related("listed", "definition"):
            record = self.apple.portal.devices[each.listed.serial_number]
            has = record.profile_uuid if record.profile_status in ("assigned", "pushed") else None
            if each.definition is None:
                ours = Definition.objects.filter(profile_uuid=has or "-").exists()
                right = not ours
            else:
                right = has == each.definition.profile_uuid
            if not right:
                found.append((record.serial_number, str(each.definition), str(has)))
        return found


@given(story=_story)
@settings(
    max_examples=EXPLORE or 12,
    deadline=None,
    derandomize=not EXPLORE,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_whatever_happens_it_ends_with_what_is_wanted(story: Any, settings: Settings) -> None:
    for model in (Wish, Definition, Assigning, LedgerEntry, AbmDevice, SyncRun, Server):
        model.objects.all().delete()
    with apple(Clock()) as played:
        settings.ENV = dataclasses.replace(settings.ENV, dep_url=played.url)
        server, serials = start(played, 8)
        played_out = Story(played, server, serials, [define(server, n) for n in range(3)])
        for step in story:
            played_out.play(step)

        played_out.settle()

        assert played_out.differing() == []
        assert differences.counts(server.pk, timezone.now()).total == 0
        before = dict(played.answered)
        hours_pass(100)
        told(server)
        assert played.answered == before, "a wish that is fulfilled was told again"
