"""The health app. It follows Celery's signals where it runs in a worker or the beat."""

from __future__ import annotations

from django.apps import AppConfig


class HealthConfig(AppConfig):
    name = "mdm.health"
    label = "health"

    def ready(self) -> None:
        from mdm.health import chain, own, pulse, readiness, readings, things

        own.register()
        readings.register_own()
        things.register_own()
        chain.register()
        readiness.register()
        pulse.listen()
