"""`manage.py trust_apple`: fetch the certificates by which devices prove that they are Apple's."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from enrollment import apple
from mdm.audit.actor import Actor


class Command(BaseCommand):
    help = (
        "Fetch Apple's published root certificates, which are accepted by their SHA-256 alone;"
        " or take them from files, where this machine does not reach Apple."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("files", nargs="*", type=Path, help="certificates in DER or PEM")
        parser.add_argument(
            "--from", dest="base", default="https://www.apple.com", help="where to fetch them"
        )

    def handle(self, *args: Any, files: list[Path], base: str, **options: Any) -> None:
        actor = Actor.system("trust_apple")
        try:
            if files:
                for path in files:
                    new = apple.keep(actor, path.read_bytes())
                    self.stdout.write(f"{path.name}: {'accepted' if new else 'known already'}")
            else:
                apple.fetch(actor, base=base.rstrip("/"), say=self.stdout.write)
        except (apple.NotAccepted, OSError) as error:
            self.stderr.write(str(error))
            sys.exit(1)
