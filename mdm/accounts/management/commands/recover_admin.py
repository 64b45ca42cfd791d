"""`manage.py recover_admin`: lets someone back in who has the server's command line, when nobody
can sign in any more.
"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Q

from mdm.accounts import people
from mdm.accounts.models import User
from mdm.accounts.rights import Role
from mdm.audit.actor import Actor


class Command(BaseCommand):
    help = "Print an address at which an admin chooses a new password; makes the first admin too."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "who", help="User name or mail address; a mail address not known makes a new admin."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        who = str(options["who"]).strip()
        actor = Actor.system("recover_admin")
        user = User.objects.filter(Q(username=who) | Q(email__iexact=who)).first()
        if user is None:
            user = self._new(actor, who)
        link = people.recover(actor, user)
        self.stdout.write(f"{user.username} chooses a new password here (once, for three days):")
        self.stdout.write(link)

    def _new(self, actor: Actor, who: str) -> User:
        try:
            return people.invite(actor, email=who, role=Role.ADMIN)
        except people.BadAddress:
            names = ", ".join(User.objects.order_by("pk").values_list("username", flat=True)[:20])
            known = f" There are: {names}." if names else " There is nobody yet."
            raise CommandError(f"Nobody is called {who}.{known}") from None
