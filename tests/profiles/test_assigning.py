"""Devices get their profile at the lab's Apple: by a device's own, a group's, the OS's default."""

from __future__ import annotations

import pytest

from abm.models import AbmDevice
from lab.dep.catalog import Family
from profiles import editing, giving, groups
from profiles.wire.content import new_content
from tests.abm.apple import Apple
from tests.profiles.steps import ADMIN, make_profile, synced, told, wanted

pytestmark = pytest.mark.django_db(transaction=True)


def test_devices_are_assigned_within_the_sync_in_which_they_arrive(lab_apple: Apple) -> None:
    server, _ = lab_apple.connect()
    office, macs = make_profile("Office"), make_profile("Macs")
    giving.set_default(ADMIN, "iOS", None, office)
    giving.set_default(ADMIN, "macOS", None, macs)
    portal = lab_apple.portal
    phones = portal.buy(3, Family.IPHONE)
    computers = portal.buy(2, Family.MAC)
    tv = portal.buy(1, Family.APPLE_TV)
    portal.assign([*phones, *computers, *tv], "Office")

    synced(server)

    assert {wanted(serial) for serial in phones} == {"Office, version 1"}
    assert {wanted(serial) for serial in computers} == {"Macs, version 1"}
    assert wanted(tv[0]) == ""
    names = {
        serial: portal.profiles[portal.devices[serial].profile_uuid or ""]["profile"][
            "profile_name"
        ]
        for serial in (*phones, *computers)
    }
    assert names == {**dict.fromkeys(phones, "Office"), **dict.fromkeys(computers, "Macs")}
    assert portal.devices[tv[0]].profile_status == "empty"
    listed = AbmDevice.objects.get(serial_number=phones[0])
    assert (listed.profile_status, listed.profile_uuid) == (
        "assigned",
        portal.devices[phones[0]].profile_uuid,
    )
    answered = lab_apple.answered
    assert answered["200 /profile"] == 2
    assert answered["200 /profile/devices"] == 2

    synced(server)
    assert lab_apple.answered["200 /profile/devices"] == 2

    # A new version moves them over; a group and a device's own go before the default.
    version = editing.draft(ADMIN, office, {**new_content(), "department": "IT"})
    editing.apply(ADMIN, version)
    cart = groups.create_static(ADMIN, "Cart", phones[:2])
    kiosk = make_profile("Kiosk")
    giving.give_group(ADMIN, cart, kiosk)
    giving.give_devices(ADMIN, phones[:1], macs)
    told(server)
    assert [wanted(serial) for serial in phones] == [
        "Macs, version 1",
        "Kiosk, version 1",
        "Office, version 2",
    ]
    for serial in phones:
        uuid = portal.devices[serial].profile_uuid or ""
        name = portal.profiles[uuid]["profile"]["profile_name"]
        assert wanted(serial).startswith(name)
