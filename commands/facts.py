"""What is known of receivers, as the catalog wants it: what is not known refuses nothing."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Exists, F, OuterRef, Subquery
from django.db.models.fields.json import KT

from commands.catalog import Facts, Platform
from mdm.models import Enrollment, Escrow, InventorySection


def of(enrollments: Iterable[int]) -> dict[int, tuple[str, Facts]]:
    """State and facts by enrollment id, in one query; unknown ids are missing."""
    ids = list(enrollments)
    about = InventorySection.objects.filter(enrollment=OuterRef("pk"), section="DeviceInformation")
    rows = (
        Enrollment.objects.filter(pk__in=ids)
        if len(ids) < _MANY
        else Enrollment.objects.extra(where=["mdm_enrollment.id = ANY(%s)"], params=[ids])
    )
    values = rows.values_list(
        "pk",
        "state",
        F("device__platform"),
        F("device__os_version"),
        F("device__supervised"),
        "channel",
        "kind",
        "access_rights",
        Exists(Escrow.objects.filter(enrollment=OuterRef("pk"), kind=Escrow.Kind.UNLOCK_TOKEN)),
        F("device__shared_ipad"),
        Subquery(about.values(v=KT("data__PINRequiredForDeviceLock"))[:1]),
        Subquery(about.values(v=KT("data__PINRequiredForEraseDevice"))[:1]),
    )
    known: dict[tuple[object, ...], Facts] = {}
    result: dict[int, tuple[str, Facts]] = {}
    for pk, state, *facts in values.iterator(chunk_size=10_000):
        key = tuple(facts)
        if key not in known:
            known[key] = _facts(*facts)
        result[pk] = (state, known[key])
    return result


_MANY = 1000


def _facts(
    platform: str,
    os_version: str,
    supervised: bool | None,
    channel: str,
    kind: str,
    access_rights: int | None,
    has_unlock_token: bool,
    shared_ipad: bool | None,
    pin_for_lock: str | None,
    pin_for_erase: str | None,
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
