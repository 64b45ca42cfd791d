"""What the core itself adds to the dashboard's frame; called once, when the app loads."""

from __future__ import annotations

from mdm import csv_export, figures, navigation
from mdm.navigation import Entry, Panel, Part
from mdm.pages import acts, audit, overview, panels, webhooks


def register() -> None:
    for entry in (
        Entry("Overview", "overview", "home", order=10, right="dashboard.open"),
        Entry("Devices", "devices", "devices", order=20, right="device.read"),
        Entry("Refused requests", "refused", "ban", "Enrollment", 73),
        Entry("Quarantine", "quarantine", "shield-question", "Enrollment", 74),
        Entry("Identities", "identities", "fingerprint", "Enrollment", 75, "device.read"),
        Entry("Push certificate", "push_certificate", "certificate", "Settings", 82),
        Entry("People and roles", "people", "users", "Settings", 83, "people.read"),
        Entry("API tokens", "tokens", "key", "Settings", 84, "token.revoke"),
        Entry("Webhooks", "webhooks", "webhook", "Settings", 85),
        Entry("Health", "health", "activity", "Settings", 88),
        Entry("Audit", "audit", "history", "Settings", 89, "audit.read"),
    ):
        navigation.add_entry(entry)
    for panel in (
        Panel("timeline", "Timeline", "mdm/device/timeline.html", panels.timeline, 10),
        Panel("inventory", "Inventory", "mdm/device/inventory.html", panels.inventory, 30),
        Panel("identity", "Identity", "mdm/device/identity.html", panels.identity, 60),
        Panel("audit", "Audit", "mdm/device/audit.html", panels.audit, 70, "audit.read"),
    ):
        navigation.add_panel(panel)
    navigation.add_part(Part("device.menu", "mdm/device/menu.html", acts.menu, order=50))
    navigation.add_part(Part("device.danger", "mdm/device/danger.html", acts.menu, order=50))
    navigation.add_part(Part("device.actions", "mdm/device/wake.html", acts.menu, order=5))
    navigation.add_pulse(panels.pulse)
    for events in (panels.checkin_events, panels.period_events, panels.audit_events):
        navigation.add_events(events)
    for attention in (
        overview.broken_attention,
        overview.health_attention,
        overview.push_certificate_attention,
        overview.quarantine_attention,
        overview.audit_attention,
        audit.attention,
        webhooks.attention,
    ):
        navigation.add_attention(attention)
    navigation.add_attention(overview.push_problem_attention, counts=True)
    figures.register()
    navigation.add_work(csv_export.going_on)
    navigation.add_expiries(overview.push_certificate_expiry)
    navigation.add_expiries(overview.identities_expiry)
    navigation.add_expiries(overview.tls_expiry)
