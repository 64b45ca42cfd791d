"""What the enrollment app adds to the dashboard's frame; called once, when the app loads."""

from __future__ import annotations

from enrollment.pages import holding, overview, removal
from mdm import navigation
from mdm.navigation import Entry, Part


def register() -> None:
    navigation.add_entry(Entry("Links", "links", "link", "Enrollment", 70))
    navigation.add_entry(Entry("Arrivals", "arrivals", "id", "Enrollment", 71))
    navigation.add_entry(Entry("Arrivals refused", "arrivals_refused", "ban", "Enrollment", 72))
    navigation.add_part(
        Part("device.notices", "enrollment/pages/holding_notice.html", holding.notice)
    )
    navigation.add_attention(overview.trust_attention)
    navigation.add_attention(overview.refused_attention)
    navigation.add_attention(overview.wrong_profile_attention)
    navigation.add_events(overview.events)
    navigation.add_expiries(overview.expiries)
    navigation.add_part(
        Part("device.menu", "enrollment/pages/removal_menu.html", removal.menu, order=20)
    )
    navigation.add_part(
        Part("device.notices", "enrollment/pages/removal_notice.html", removal.notice)
    )
