"""`manage.py rotate_keys`: seal every secret anew with the first key of GUARD_ENCRYPTION_KEYS."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from mdm import rotation
from mdm.audit.actor import Actor


class Command(BaseCommand):
    help = "Seal every secret anew with the first key of GUARD_ENCRYPTION_KEYS."

    def handle(self, *args: Any, **options: Any) -> None:
        done, stuck = rotation.rotate(Actor.system("command line"), say=self.stdout.write)
        if stuck:
            raise CommandError(
                f"{stuck} secrets cannot be opened by any key in GUARD_ENCRYPTION_KEYS. Put the key"
                " that sealed them back into the list and run this again."
            )
        self.stdout.write(f"{done} secrets sealed anew. Older keys can be removed from the list.")
