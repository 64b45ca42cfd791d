"""What the profiles app adds to the dashboard's frame; called once, when the app loads."""

from __future__ import annotations

from mdm import navigation
from mdm.navigation import Entry, Panel, Part
from profiles.pages import device, overview


def register() -> None:
    navigation.add_entry(Entry("Groups", "profiles:groups", "stack-2", order=30))
    navigation.add_entry(Entry("ADE profiles", "profiles:profiles", "id", order=32))
    navigation.add_panel(
        Panel("profile", "Profile", "profiles/device_panel.html", device.panel, 38)
    )
    navigation.add_part(
        Part("abm.devices.bulk", "profiles/abm_devices_bulk.html", order=50, right="profile.give")
    )
    navigation.add_part(Part("device.notices", "profiles/device_notice.html", device.head))
    navigation.add_part(
        Part("group.members.bulk", "profiles/members_bulk.html", right="group.edit")
    )
    navigation.add_attention(overview.unassigned_attention, counts=True)
    navigation.add_attention(overview.waiting_attention, counts=True)
    navigation.add_attention(overview.misfit_attention, counts=True)
    navigation.add_number(overview.unassigned_number, 10)
