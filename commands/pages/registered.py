"""What the commands app adds to the dashboard's frame; called once, when the app loads."""

from __future__ import annotations

from commands.pages import approvals, device, overview, work
from mdm import navigation
from mdm.navigation import Entry, Panel, Part


def register() -> None:
    navigation.add_entry(
        Entry("Jobs", "commands:jobs", "list-check", "Commands", 60, "command.read")
    )
    navigation.add_entry(Entry("Approvals", "commands:approvals", "user-check", "Commands", 61))
    navigation.add_attention(approvals.attention)
    navigation.add_entry(
        Entry("Catalog", "commands:catalog", "book", "Commands", 62, "command.read")
    )
    navigation.add_panel(Panel("commands", "Commands", "commands/history.html", device.history, 20))
    navigation.add_part(
        Part("overview", "commands/overview.html", overview.in_flight, right="server.read")
    )
    navigation.add_part(Part("bar", "commands/running_bar.html"))
    navigation.add_part(Part("devices.bulk", "commands/bulk.html", right="command.send"))
    navigation.add_part(Part("device.actions", "commands/actions.html", device.actions))
    navigation.add_part(Part("device.menu", "commands/menu.html", device.actions, order=10))
    navigation.add_part(Part("device.danger", "commands/danger.html", device.actions, order=10))
    navigation.add_part(Part("device.notices", "commands/notices.html", device.notices))
    navigation.add_part(Part("device.news", "commands/news.html", device.news))
    navigation.add_pulse(device.pulse)
    navigation.add_events(device.events)
    navigation.add_work(work.going_on)
