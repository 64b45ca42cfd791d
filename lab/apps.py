"""The lab as an installed app: in the demo it registers its page as any other app does."""

from __future__ import annotations

from django.apps import AppConfig
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


class LabConfig(AppConfig):
    name = "lab"
    verbose_name = "Lab"

    def ready(self) -> None:
        if settings.ENV.production:
            # An exception and not only a system check: web server and worker run no checks.
            raise ImproperlyConfigured(
                "The lab plays Apple and devices; it cannot be installed in production. "
                "Take it out of GUARD_EXTRA_APPS."
            )
        from mdm.navigation import Entry, add_entry

        add_entry(Entry("Lab", "lab", "flask", section="Stand-ins", order=1000))
