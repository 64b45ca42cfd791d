"""The lab as an installed app: in the demo it registers its page as any other app does."""

from __future__ import annotations

from django.apps import AppConfig
from django.conf import settings

from mdm.env import BadEnvironment


class LabConfig(AppConfig):
    name = "lab"
    verbose_name = "Lab"

    def ready(self) -> None:
        if settings.ENV.production:
            # An exception and not a system check: web server and worker run no checks.
            raise BadEnvironment(
                "GUARD_EXTRA_APPS: the lab plays Apple and devices; it cannot be installed in"
                " production, nor can the demo run there."
            )
        from mdm.navigation import Entry, add_entry

        add_entry(Entry("Lab", "lab", "flask", section="Stand-ins", order=1000))
        add_entry(Entry("Lab portal", "lab-portal", "building", section="Stand-ins", order=1010))
