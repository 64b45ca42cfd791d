"""The oldest OS that devices of each platform may enroll with."""

from __future__ import annotations

from django.db import transaction

from commands.catalog.types import version_key
from enrollment.errors import BadMinimum
from enrollment.models import MinimumOS
from enrollment.wire.machine_info import MachineInfo
from mdm.audit.actor import Actor
from mdm.audit.record import allow, record
from mdm.models import Device
from mdm.protocol.platform import platform_of


def set_minimum(actor: Actor, platform: str, version: str) -> None:
    """Set it, or take it away (""). Raises NotAllowed, BadMinimum."""
    allow(actor, "minimum_os.set")
    version = version.strip()
    if platform not in Device.Platform.values:
        raise BadMinimum("There is no such platform.")
    numbers = version.split(".")
    if version and not (
        len(version) <= 30 and all(each.isascii() and each.isdecimal() for each in numbers)
    ):
        raise BadMinimum("A version is numbers with dots, such as 26.1.")
    with transaction.atomic():
        rows = MinimumOS.objects.filter(platform=platform)
        before = rows.values_list("version", flat=True).first() or ""
        if before == version:
            return
        if version:
            given = {"version": version, "set_by": actor.name}
            MinimumOS.objects.update_or_create(platform=platform, defaults=given)
        else:
            rows.delete()
        record(
            actor,
            "minimum_os.set",
            subject_kind="platform",
            subject_id=platform,
            before={"version": before},
            after={"version": version},
        )


def missed_by(info: MachineInfo) -> str:
    """The minimum that this device does not reach; "" where it does, or where there is none. One
    that does not say its version does not reach it.
    """
    required = (
        MinimumOS.objects.filter(platform=platform_of(info.product))
        .values_list("version", flat=True)
        .first()
    )
    if not required:
        return ""
    has, needs = version_key(info.os_version), version_key(required)
    return "" if has is not None and needs is not None and has >= needs else required
