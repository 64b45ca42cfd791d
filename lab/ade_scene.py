"""Automated Device Enrollment as the demo shows it: profiles, defaults of two OS, two groups, and
devices of every platform that are switched on; someone signs in at the Macs. The Apple Vision Pro
is left without a profile on purpose. Each thing is made once and found again.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence

from cryptography.hazmat.primitives.serialization import Encoding

from abm import runs
from abm.models import AbmDevice, Server
from enrollment import authority
from lab.control import ask
from lab.devices.hardware import Model
from lab.errors import LabError
from lab.fleet import BOXED
from lab.place import Place
from lab.scene import ABM_SERVER, actor, someone
from mdm.models import Group
from profiles import editing, giving, groups
from profiles.errors import ProfileError
from profiles.models import Default, Profile
from profiles.pages.contents import RECOMMENDED
from profiles.wire.content import new_content

PHONES, MACS, ROOMS, CART = (
    "Phones and iPads",
    "Company Macs",
    "Meeting room screens",
    "Shared iPads",
)
_LOOK_EVERY = 0.5


def play(place: Place, wait: float) -> tuple[list[str], list[str]]:
    """Set all of it, wait until Apple has the profiles of the devices in their boxes, and switch
    them on; those that were, and those that have no profile. Raises LabError.
    """
    boxed = _boxed(place)
    fresh = _set_rules(boxed)
    if fresh:
        ask(place.socket, "abm", act="own", name=ABM_SERVER)
        runs.ask(actor(), Server.objects.get(name=ABM_SERVER, disconnected_at=None))
    serials = [serial for serial, _ in boxed]
    ready = _wait_for_profiles([s for s, kind in boxed if kind is not Model.VISION], wait)
    states = {row["serial"]: row["state"] for row in ask(place.socket, "status")["devices"]}
    waiting = [serial for serial in serials if states[serial] != "enrolled"]
    if waiting:
        own = authority.current().certificate.public_bytes(Encoding.PEM).decode("ascii")
        ask(place.socket, "activate", serials=waiting, authorities=own, **someone(place))
    return ready, [serial for serial in serials if serial not in ready]


def _boxed(place: Place) -> list[tuple[str, Model]]:
    """The devices in their boxes, and those that were there; made where there are none."""
    rows = [row for row in ask(place.socket, "status")["devices"] if row["way"] == "ade"]
    if not rows:
        for kind in BOXED:
            ask(place.socket, "grow", count=1, kind=str(kind))
        return _boxed(place)
    return [(str(row["serial"]), Model(row["kind"])) for row in rows]


def _set_rules(boxed: Sequence[tuple[str, Model]]) -> bool:
    """Profiles, defaults and groups; False where they were there."""
    if Profile.objects.filter(name=PHONES).exists():
        return False
    try:
        common = {**new_content(), "skip_setup_items": sorted(RECOMMENDED), "anchor_certs": _own()}
        common |= {"department": "IT", "support_email_address": "help@example.com"}
        phones = editing.create(actor(), PHONES, common)
        held = {**common, "await_device_configured": True}
        macs = editing.create(actor(), MACS, held, signs_in=True)
        locked = {**common, "is_mdm_removable": False}
        rooms = editing.create(
            actor(),
            ROOMS,
            {**locked, "auto_advance_setup": True, "language": "en", "region": "US"},
        )
        shared = editing.create(actor(), CART, {**locked, "is_multi_user": True})
        giving.set_default(actor(), Default.OS.IOS, None, phones)
        giving.set_default(actor(), Default.OS.MACOS, None, macs)
        tvs = {"match": "all", "conditions": [{"field": "family", "op": "is", "value": "AppleTV"}]}
        giving.give_group(actor(), groups.create_smart(actor(), "Meeting rooms", tvs), rooms)
        picked = [serial for serial, kind in boxed if kind is Model.IPAD][:1]
        giving.give_group(actor(), groups.create_static(actor(), "iPad cart", picked), shared)
    except ProfileError as error:
        raise LabError(f"The demo's profiles could not be made: {error}") from error
    return Group.objects.count() >= 2


def _own() -> list[str]:
    """Devices trust this server's TLS by the ADE profile: its CA is not one that Apple ships."""
    der = authority.current().certificate.public_bytes(Encoding.DER)
    return [base64.b64encode(der).decode("ascii")]


def _wait_for_profiles(serials: Sequence[str], wait: float) -> list[str]:
    """Those that Apple says to have a profile of ours, once all have or the time is over."""
    until = time.monotonic() + wait
    rows = AbmDevice.objects.filter(
        serial_number__in=serials, removed_at=None, profile_status__in=("assigned", "pushed")
    )
    while True:
        found = set(rows.values_list("serial_number", flat=True))
        if len(found) == len(serials) or time.monotonic() > until:
            return [serial for serial in serials if serial in found]
        time.sleep(_LOOK_EVERY)
