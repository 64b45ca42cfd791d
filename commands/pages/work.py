"""Commands that someone asked for today and that devices have not all answered, for the list of
what goes on.
"""

from __future__ import annotations

from collections.abc import Iterator

from django.urls import reverse

from commands import progress
from commands.models import Command
from mdm.audit.actor import Actor
from mdm.navigation import Work

_SHOWN = 20


def going_on(actor: Actor) -> Iterator[Work]:
    where = actor.where("command.read")
    left = progress.going_on(where)
    commands = list(Command.objects.filter(pk__in=sorted(left)[-_SHOWN:]).order_by("-pk"))
    states = progress.states(commands, where)
    for command in commands:
        total = sum(states[command.pk].values())
        done = max(0, total - left[command.pk])
        yield Work(
            what=f"{command.request_type}, by {command.asked_by}",
            url=reverse("commands:job", args=[command.uuid]),
            words=f"{done:,} of {total:,} finished",
            since=command.created_at,
            done=done,
            total=total,
        )
