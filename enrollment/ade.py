"""Automated Device Enrollment: the device that was just unpacked asks to be let in.

It proves by a certificate of Apple's that it is a device of Apple's, and by the secret in the
address which ADE profile it was given; its serial number it only says. ABM's list says whether that
is ours. Then it gets an enrollment profile whose challenge is for this serial number alone, and
Authenticate (`mdm/admission.py`) looks whether it can be the one that had it before. Who is refused
leaves a row that says why.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from abm import servers, state
from abm.models import AbmDevice, Definition, Wish
from enrollment import apple, minimum, profiles
from enrollment.models import Arrival, RefusedArrival
from enrollment.wire import machine_info
from enrollment.wire.machine_info import BadSignature, Foreign, MachineInfo, Unreadable, Unsigned
from mdm import refusals
from mdm.audit.actor import Actor
from mdm.audit.record import record
from profiles import editing
from profiles.models import Version

UNRECOGNIZED = "com.apple.unrecognized.device"
UPDATE = "com.apple.softwareupdate.required"
UNKNOWN_ADDRESS = "unknown_address"
# So many refused rows are kept apart; whoever makes up more serial numbers is summed up in one.
# Those that proved to be devices of Apple's are not crowded out by those that did not.
MOST_PROVEN = 5_000
MOST_UNPROVEN = 1_000
# A device that is set up comes once or twice; one that goes wrong, a few times more.
MOST_AN_HOUR = 20
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
        return let_in(visitor, address)
    except TurnedAway as refused:
        note(refused, address)
        raise


def look(secret: str, message: bytes) -> Visitor:
    """Who it is, and whether it may come in. Raises TurnedAway."""
    version = _named(secret)
    return _judged(version, _proven(message))


def look_again(secret: str, info: MachineInfo) -> Visitor:
    """The same of one whose message was looked at before. Raises TurnedAway."""
    return _judged(_named(secret), info)


def _named(secret: str) -> Version:
    version = editing.by_secret(secret)
    # No device was ever told the address of a draft.
    if version is None or version.applied_at is None:
        raise TurnedAway(
            UNKNOWN_ADDRESS,
            "The address is that of no profile of this server: the profile was deleted, or someone"
            " guesses.",
            status=404,
        )
    return version


def _judged(version: Version, info: MachineInfo) -> Visitor:
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


def let_in(visitor: Visitor, address: str, person: Actor | None = None) -> bytes:
    """The signed enrollment profile for a visitor, and for the person who signed in on it, where
    one did. Raises NotReady, and TurnedAway where it came too often.
    """
    info = visitor.info
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [_LOCK, info.serial_number]
            )
        _bounded(info.serial_number)
        profile = profiles.for_arrival(info.serial_number)
        Arrival.objects.create(
            serial_number=info.serial_number,
            udid=info.udid[:100],
            product=info.product[:100],
            os_version=info.os_version[:64],
            build=info.build[:64],
            language=info.language[:64],
            version=visitor.version,
            person=person.name if person else "",
            flags=list(visitor.flags),
            address=address[:64],
        )
        if person is not None:
            record(
                person,
                "enrollment.sign_in",
                subject_kind="device",
                subject_id=info.serial_number,
            )
    return profile


def note(refused: TurnedAway, address: str) -> None:
    """Keep that, and why, someone was refused."""
    if refused.reason == UNKNOWN_ADDRESS:
        # That anybody can say who knows nothing: it is counted with the other rubbish.
        refusals.tally.add("unknown_profile_address", address=address, detail=str(refused))
        return
    now = timezone.now()
    if _noted(refused.serial_number, refused, address, now):
        return
    serial = refused.serial_number
    if serial and _is_full(refused.reason):
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


def _is_full(reason: str) -> bool:
    unproven = RefusedArrival.objects.filter(reason__in=_UNPROVEN)
    if reason in _UNPROVEN:
        return unproven.count() >= MOST_UNPROVEN
    return RefusedArrival.objects.count() - unproven.count() >= MOST_PROVEN


def _bounded(serial_number: str) -> None:
    """Raises TurnedAway for one that comes without end: each time leaves rows for good."""
    lately = timezone.now() - timedelta(hours=1)
    if Arrival.objects.filter(serial_number=serial_number, at__gt=lately).count() >= MOST_AN_HOUR:
        raise TurnedAway(
            "too_often",
            f"It was let in {MOST_AN_HOUR} times within an hour and asks again. Someone may be"
            " sending an old message of this device.",
            status=429,
            serial_number=serial_number,
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
_UNPROVEN = frozenset(reason for reason, _ in _REASONS.values())


def _listed(info: MachineInfo, version: Version) -> tuple[str, ...]:
    """What is odd about it, if it is ours. Raises TurnedAway."""
    rows = AbmDevice.objects.filter(serial_number=info.serial_number, removed_at=None)
    listed = rows.order_by("-current", "pk").first()
    if listed is None:
        if _may_be_new(info.serial_number, version):
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
    if wanted and _passes_the_sign_in(wanted, version) and not _carries(listed, version):
        raise TurnedAway(
            "signs_in",
            "Its profile wants someone to sign in, and it came with the address of another one,"
            " which Apple says it does not have.",
            serial_number=info.serial_number,
        )
    same = wanted is not None and version.profile.versions.filter(pk=wanted).exists()
    return (Flag.OLDER_PROFILE if same else Flag.OTHER_PROFILE,)


def _may_be_new(serial_number: str, version: Version) -> bool:
    """Whether a server that cannot sync may have been given the device meanwhile: one that had
    Apple give this version out, and whose own list has not lost the device before.
    """
    behind = [server for server in servers.connected() if not state.of(server).syncs]
    gave_it = Definition.objects.filter(
        server__in=behind, reference=version.pk, state=Definition.State.DEFINED
    )
    lost_it = AbmDevice.objects.filter(serial_number=serial_number).exclude(removed_at=None)
    return gave_it.exclude(server__in=lost_it.values("server")).exists()


def _passes_the_sign_in(wanted: int, version: Version) -> bool:
    """Whether nobody signs in for this version, and somebody does for the one that it should be."""
    return not version.signs_in and Version.objects.filter(pk=wanted, signs_in=True).exists()


def _carries(listed: AbmDevice, version: Version) -> bool:
    """Whether Apple says that the device has this version."""
    given = Definition.objects.filter(
        server=listed.server_id, reference=version.pk, profile_uuid=listed.profile_uuid
    )
    return bool(listed.profile_uuid) and given.exists()
