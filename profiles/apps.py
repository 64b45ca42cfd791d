"""The profiles app: it hears from the sync which devices came, changed and went, and says which
profile each of them should have before Apple is told.
"""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig


class ProfilesConfig(AppConfig):
    name = "profiles"
    verbose_name = "ADE profiles"

    def ready(self) -> None:
        from abm import signals
        from mdm import signals as core
        from profiles import following, health
        from profiles.pages import registered

        registered.register()
        health.register()

        def on_changed(serial_numbers: list[str], **_: Any) -> None:
            following.tell(serial_numbers)

        def on_synced(**_: Any) -> None:
            following.follow()

        def on_heard(device_ids: list[int], **_: Any) -> None:
            following.tell_of(device_ids)

        def on_ended(enrollment_id: int, **_: Any) -> None:
            following.tell_of_enrollment(enrollment_id)

        core.devices_heard.connect(on_heard, weak=False)
        core.enrollment_ended.connect(on_ended, weak=False)
        signals.devices_changed.connect(on_changed, weak=False)
        signals.synced.connect(on_synced, weak=False)
