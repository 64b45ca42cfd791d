"""`manage.py devices_certificate`: the TLS certificate of the devices' port, made or renewed."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from enrollment import server_certificate


class Command(BaseCommand):
    help = "Make or renew the TLS certificate of the devices' port (tls/ in the state folder)."

    def handle(self, *args: Any, **options: Any) -> None:
        folder = settings.ENV.state_dir / "tls"
        made = server_certificate.keep(folder)
        if made or options["verbosity"] > 1:
            self.stdout.write(f"{folder / 'server.pem'} {'was made' if made else 'is still good'}.")
