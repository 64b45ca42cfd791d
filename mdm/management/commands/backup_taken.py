"""`manage.py backup_taken`: note that the database was just backed up in another way."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from mdm.audit.actor import Actor
from mdm.health import backups


class Command(BaseCommand):
    help = "Note that the database was just backed up in another way, for the page Health."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("how", help="such as “snapshot of the volume”")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            backups.note(Actor.system("command line"), options["how"])
        except backups.BackupFailed as failed:
            raise CommandError(str(failed)) from None
        self.stdout.write("Noted. GUARD_ENCRYPTION_KEYS and GUARD_SECRET_KEY are kept too?")
