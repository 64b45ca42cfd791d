"""The ABM app: Apple Business Manager, as the device enrollment service shows it to MDM servers."""

from __future__ import annotations

from django.apps import AppConfig


class AbmConfig(AppConfig):
    name = "abm"
    verbose_name = "Apple Business Manager"

    def ready(self) -> None:
        from abm import events, health
        from abm.pages import registered

        registered.register()
        events.register()
        health.register()
