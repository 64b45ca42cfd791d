"""What the ABM app adds to the dashboard's frame; called once, when the app loads."""

from __future__ import annotations

from abm.pages import device, filters, overview, search, strip, work
from mdm import navigation
from mdm.navigation import Entry, Finder, Panel, Part

_SECTION = "Apple Business Manager"


def register() -> None:
    navigation.add_entry(Entry("ABM Devices", "abm:devices", "building", _SECTION, 40))
    navigation.add_entry(Entry("Sync runs", "abm:runs", "refresh", _SECTION, 42))
    navigation.add_entry(Entry("Assignment", "abm:assignments", "list-check", _SECTION, 44))
    navigation.add_entry(Entry("ABM Integration", "abm:servers", "building", "Settings", 81))
    navigation.add_panel(Panel("abm", "ABM", "abm/device_panel.html", device.panel, 40))
    navigation.add_part(Part("abm.devices.bulk", "abm/devices_bulk.html", right="server.read"))
    navigation.add_part(Part("bar", "abm/running_bar.html", order=110, right="server.read"))
    filters.register()
    navigation.add_finder(
        Finder("Asset tag in Apple Business Manager", search.find, search.url, "server.read")
    )
    navigation.add_events(device.events)
    navigation.add_work(work.going_on)
    navigation.add_attention(overview.attention)
    navigation.add_expiries(overview.expiries)
    navigation.add_part(Part("overview.wide", "abm/strip.html", strip.context, right="server.read"))
