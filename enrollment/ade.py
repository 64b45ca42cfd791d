"""Automated Device Enrollment: the device that was just unpacked asks to be let in.

It proves by a certificate of Apple's which serial number it has, and by the secret in the address
which ADE profile it was given; ABM's list says whether it is ours. Then it gets an enrollment
profile whose challenge is for this serial number alone. Who is refused leaves a row that says why.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from abm import servers, state
from abm.models import AbmDevice, Wish
from enrollment import apple, minimum, profiles
from enrollment.models import Arrival, RefusedArrival
from enrollment.wire import machine_info
from enrollment.wire.machine_info import BadSignature, Foreign, MachineInfo, Unreadable, Unsigned
from profiles import editing
from profiles.models import Version

UNRECOGNIZED = "com.apple.unrecognized.device"
UPDATE = "com.apple.softwareupdate.required"
# So many refused rows are kept apart; whoever makes up more serial numbers is summed up in one.
MOST_REFUSED = 5_000
_LOCK = 0x414445

Flag = Arrival.Flag


@dataclass(eq=False)
class TurnedAway(Exception):
    """Why a device was not let in, in a sentence; `code` and `details` are Apple's words for it,
    where there are any, `status` is HTTP's.
    """

    reason: str
    sentence: str
    status: int = 403
    code: str = ""
    details: dict[str, str] = field(default_factory=dict)
    serial_number: str = ""

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Who stands at the door: the version its address names, and what it proved to be."""

    version: Version
    info: MachineInfo
    flags: tuple[str, ...] = ()


def arrive(secret: str, message: bytes, address: str) -> bytes:
    """The signed enrollment profile for a device that posts its MachineInfo. Raises TurnedAway,
    and NotReady where nobody can enroll yet.
    """
    try:
        visitor = look(secret, message)
        if visitor.version.signs_in:
            raise TurnedAway(
                "signs_in",
                "Its profile wants someone to sign in, and this device asked without that. It"
                " needs iOS 13, macOS 10.15 or newer.",
                serial_number=visitor.info.serial_number,
            )
    except TurnedAway as refused:
        note(refused, address)
        raise
    return let_in(visitor, address)


def look(secret: str, message: bytes) -> Visitor:
    """Who it is, and whether it may come in. Raises TurnedAway."""
    version = editing.by_secret(secret)
    if version is None:
        raise TurnedAway(
            "unknown_address",
            "The address is that of no profile of this server: the profile was deleted, or someone"
            " guesses.",
            status=404,
        )
    info = _proven(message)
    flags = _listed(info, version)
    required = minimum.missed_by(info)
    if required and info.can_request_software_update:
        raise TurnedAway(
            "below_minimum",
            f"It has {info.os_version or 'an unknown version'} and {required} is the minimum: it is"
            " told to update, and comes back.",
            code=UPDATE,
            details={"OSVersion": required},
            serial_number=info.serial_number,
        )
    if required:
        flags = (*flags, Flag.BELOW_MINIMUM)
    return Visitor(version=version, info=info, flags=flags)


def let_in(visitor: Visitor, address: str, person: str = "") -> bytes:
    """The signed enrollment profile for a visitor. Raises NotReady."""
    info = visitor.info
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [_LOCK, info.serial_number]
            )
        profile = profiles.for_arrival(info.serial_number)
        Arrival.objects.create(
            serial_number=info.serial_number,
            udid=info.udid[:100],
            product=info.product[:100],
            os_version=info.os_version[:64],
            build=info.build[:64],
            language=info.language[:64],
            version=visitor.version,
            person=person[:200],
            flags=list(visitor.flags),
            address=address[:64],
        )
    return profile


def note(refused: TurnedAway, address: str) -> None:
    """Keep that, and why, someone was refused."""
    now = timezone.now()
    if _noted(refused.serial_number, refused, address, now):
        return
    serial = refused.serial_number
    if serial and RefusedArrival.objects.count() >= MOST_REFUSED:
        serial = ""
        if _noted(serial, refused, address, now):
            return
    RefusedArrival.objects.bulk_create(
        [
            RefusedArrival(
                serial_number=serial[:64],
                reason=refused.reason,
                sentence=refused.sentence[:500],
                address=address[:64],
                first_at=now,
                last_at=now,
            )
        ],
        ignore_conflicts=True,
    )


# --- Inside --------------------------------------------------------------------------------------


def _noted(serial: str, refused: TurnedAway, address: str, now: datetime) -> bool:
    rows = RefusedArrival.objects.filter(serial_number=serial[:64], reason=refused.reason)
    return bool(
        rows.update(
            count=F("count") + 1,
            last_at=now,
            sentence=refused.sentence[:500],
            address=address[:64],
        )
    )


def _proven(message: bytes) -> MachineInfo:
    trusted = apple.trust()
    if not trusted.roots:
        raise TurnedAway(
            "no_trust",
            "This server knows none of Apple's certificates yet, so it cannot believe any device."
            " Run manage.py trust_apple.",
        )
    try:
        return machine_info.read(message, trusted)
    except machine_info.MachineInfoError as error:
        reason, status = _REASONS[type(error)]
        raise TurnedAway(
            reason, str(error), status=status, serial_number=error.claimed_serial
        ) from error


_REASONS: dict[type[machine_info.MachineInfoError], tuple[str, int]] = {
    Unreadable: ("unreadable", 400),
    Unsigned: ("unsigned", 403),
    BadSignature: ("bad_signature", 403),
    Foreign: ("foreign", 403),
}


def _listed(info: MachineInfo, version: Version) -> tuple[str, ...]:
    """What is odd about it, if it is ours. Raises TurnedAway."""
    rows = AbmDevice.objects.filter(serial_number=info.serial_number, removed_at=None)
    listed = rows.order_by("-current", "pk").first()
    if listed is None:
        if any(not state.of(server).syncs for server in servers.connected()):
            # It carries our profile, so it was ours; refusing would strand it in Setup Assistant.
            return (Flag.UNCHECKED,)
        raise TurnedAway(
            "not_listed",
            "Apple Business Manager does not list this serial number for any server here.",
            code=UNRECOGNIZED,
            serial_number=info.serial_number,
        )
    wish = Wish.objects.filter(listed=listed).select_related("definition").first()
    wanted = wish.definition.reference if wish and wish.definition else None
    if wanted == version.pk:
        return ()
    same = wanted is not None and version.profile.versions.filter(pk=wanted).exists()
    return (Flag.OLDER_PROFILE if same else Flag.OTHER_PROFILE,)
