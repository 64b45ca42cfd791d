"""Tells of what ends soon, each day: in 30, 14, 7 and 1 days, once each."""

from __future__ import annotations

from datetime import datetime, timedelta
from urllib.parse import urljoin

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from mdm import navigation
from mdm.navigation import Expiry
from mdm.webhooks.models import Reminder
from mdm.webhooks.outbox import emit

DAYS = (30, 14, 7, 1)


def tell(now: datetime | None = None) -> int:
    """Write an event for each expiry that has come nearer than one of DAYS since it was told of
    last; returns how many. Days on which this did not run are made up for by the nearest.
    """
    now = now or timezone.now()
    found = navigation.expiries()
    told = sum(_tell(each, now) for each in found)
    # What was renewed, or is gone: a new end is told of anew.
    Reminder.objects.exclude(what__in=[_key(each) for each in found]).delete()
    return told


@transaction.atomic
def _tell(expiry: Expiry, now: datetime) -> bool:
    left = expiry.at - now
    reached = [days for days in DAYS if left <= timedelta(days=days)]
    if not reached or left <= timedelta():
        return False
    days = min(reached)
    known, made = Reminder.objects.select_for_update().get_or_create(
        what=_key(expiry), defaults={"days": days}
    )
    if not made:
        if known.days <= days:
            return False
        known.days = days
        known.save(update_fields=["days"])
    emit(
        "expiry.near",
        expiry.what,
        {
            "expires_at": expiry.at.isoformat(),
            "days": days,
            "stops": expiry.stops,
            "url": urljoin(settings.ENV.dashboard_url, expiry.url),
        },
    )
    return True


def _key(expiry: Expiry) -> str:
    return f"{expiry.at.isoformat()} {expiry.what}"[:300]
