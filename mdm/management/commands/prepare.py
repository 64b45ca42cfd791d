"""`manage.py prepare`: brings database, static files and the devices' TLS certificate up to date
before a server on one machine starts; `mdm/local/server.py` runs it each time.
"""

from __future__ import annotations

import fcntl
import hashlib
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Bring database, static files and TLS certificate up to date."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("migrate", interactive=False, verbosity=0)
        call_command("devices_certificate")
        _collect_static(Path(settings.STATIC_ROOT))


def _collect_static(root: Path) -> None:
    """Collecting takes seconds, so it is done only where a file has changed since."""
    root.mkdir(parents=True, exist_ok=True)
    stamp = root.with_name("static.stamp")
    with root.with_name("static.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        now = _digest()
        if stamp.exists() and stamp.read_text() == now:
            return
        call_command("collectstatic", interactive=False, clear=True, verbosity=0)
        stamp.write_text(now)


def _digest() -> str:
    seen = hashlib.sha256()
    for finder in finders.get_finders():
        for name, storage in finder.list([]):
            found = Path(storage.path(name)).stat()
            seen.update(f"{name}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
    return seen.hexdigest()
