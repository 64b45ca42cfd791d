"""What is known of receivers, as the catalog wants it: what is not known refuses nothing."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Exists, F, OuterRef, Subquery
from django.db.models.fields.json import KT

from commands.catalog import Facts, Platform
from mdm.models import Enrollment, Escrow, InventorySection


def of(enrollments: Iterable[int], *, briefly: bool = False) -> dict[int, tuple[str, Facts]]:
    """State and facts by enrollment id, in one query; unknown ids are missing.

    `briefly` leaves out whether there is an unlock token and where a Mac wants a PIN, which
    inventory questions do not ask about.
    """
    rows = Enrollment.objects.extra(
        where=["mdm_enrollment.id = ANY(%s)"], params=[list(enrollments)]
    ).values_list(
        "pk",
        "state",
        F("device__platform"),
        F("device__os_version"),
        F("device__supervised"),
        "channel",
        "kind",
        "access_rights",
        F("device__shared_ipad"),
        *(() if briefly else _AT_LENGTH),
    )
    known: dict[tuple[object, ...], Facts] = {}
    result: dict[int, tuple[str, Facts]] = {}
    for pk, state, *facts in rows:
        key = tuple(facts)
        if key not in known:
            known[key] = _facts(*facts)
        result[pk] = (state, known[key])
    return result


_REPORTED = InventorySection.objects.filter(enrollment=OuterRef("pk"), section="DeviceInformation")
_AT_LENGTH = (
    Exists(Escrow.objects.filter(enrollment=OuterRef("pk"), kind=Escrow.Kind.UNLOCK_TOKEN)),
    Subquery(_REPORTED.values(v=KT("data__PINRequiredForDeviceLock"))[:1]),
    Subquery(_REPORTED.values(v=KT("data__PINRequiredForEraseDevice"))[:1]),
)


def _facts(
    platform: str,
    os_version: str,
    supervised: bool | None,
    channel: str,
    kind: str,
    access_rights: int | None,
    shared_ipad: bool | None,
    has_unlock_token: bool | None = None,
    pin_for_lock: str | None = None,
    pin_for_erase: str | None = None,
) -> Facts:
    return Facts(
        platform=Platform(platform) if platform else None,
        os_version=os_version or None,
        supervised=supervised,
        channel=channel,  # type: ignore[arg-type]
        kind=kind,  # type: ignore[arg-type]
        access_rights=access_rights,
        has_unlock_token=has_unlock_token,
        shared_ipad=shared_ipad,
        pin_required_for_lock=_flag(pin_for_lock),
        pin_required_for_erase=_flag(pin_for_erase),
    )


def _flag(text: str | None) -> bool | None:
    return None if text is None else text == "true"
