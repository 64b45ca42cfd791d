"""`manage.py backup`: dump the database into a folder, and note that it was done."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from mdm.audit.actor import Actor
from mdm.health import backups


class Command(BaseCommand):
    help = "Dump the database into a folder, for pg_restore, and note it for the page Health."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path, help="where the file goes; best another machine's")
        parser.add_argument(
            "--keep", type=int, default=0, help="how many of these files stay; all when left out"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["keep"] < 0:
            raise CommandError("--keep is a number of files.")
        try:
            file, noted = backups.take(
                Actor.system("command line"), options["folder"].resolve(), options["keep"]
            )
        except backups.BackupFailed as failed:
            raise CommandError(str(failed)) from None
        self.stdout.write(f"{file} holds the database ({noted.size:,} bytes).")
        self.stdout.write(
            "It is of use only with GUARD_ENCRYPTION_KEYS and GUARD_SECRET_KEY: keep these too, in"
            " another place."
        )
