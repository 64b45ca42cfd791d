"""`manage.py first_admin`: prints where and with which token the first admin is made, while there
is nobody who could sign in.
"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from mdm.accounts import first_admin
from mdm.audit.actor import Actor

_ACTOR = Actor.system("command line")


class Command(BaseCommand):
    help = "Print the address and the token with which a new server gets its first admin."

    def handle(self, *args: Any, **options: Any) -> None:
        if first_admin.is_missing():
            self.stdout.write(f"{first_admin.address()} {first_admin.read_token(_ACTOR)}")
