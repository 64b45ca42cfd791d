"""What the enrollment app adds to the dashboard's frame; called once, when the app loads."""

from __future__ import annotations

from enrollment.pages import links, removal
from mdm import navigation
from mdm.navigation import Entry, Part


def register() -> None:
    navigation.add_entry(Entry("Links", "links", "link", "Enrollment", 70))
    navigation.add_step(links.first_link_step, 20)
    navigation.add_part(
        Part("device.menu", "enrollment/pages/removal_menu.html", removal.menu, order=20)
    )
    navigation.add_part(
        Part("device.notices", "enrollment/pages/removal_notice.html", removal.notice)
    )
