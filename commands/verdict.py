"""Who of a list can take a command, before it is sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from commands import facts, queue, restraint
from commands.catalog import CommandType, Effect
from mdm import scope
from mdm.audit.actor import Actor
from mdm.audit.record import NotAllowed


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many of a list can take a command, how many cannot for which reason, the most frequent
    first, and in a sentence what it will wait for, "" for nothing.
    """

    able: int
    unable: list[tuple[str, int]]
    held: str = ""


def judge(
    actor: Actor,
    command: CommandType,
    effect: Effect,
    enrollments: Sequence[int],
    params: Mapping[str, object] | None = None,
) -> Verdict:
    """What would come of sending it to them; without `params`, of sending it at all."""
    try:
        where = queue.may_send(actor, command.request_type, effect)
    except NotAllowed as refused:
        return Verdict(0, [(str(refused), len(enrollments))])
    beyond = scope.beyond(enrollments, where)
    alike = Counter(facts.of([pk for pk in enrollments if pk not in beyond]).values())
    able, unable = 0, Counter[str]({queue.BEYOND: len(beyond)} if beyond else {})
    for (state, about), count in alike.items():
        reason = queue.why_not(command, state, about, params)
        if reason is None:
            able += count
        else:
            unable[reason] += count
    return Verdict(able, unable.most_common(), held(actor, command, effect, able))


def held(actor: Actor, command: CommandType, effect: Effect, targets: int) -> str:
    """What a command to so many will wait for, in a sentence; "" for nothing."""
    if effect is not Effect.DESTRUCTIVE or not targets:
        return ""
    return restraint.foresee(actor, command.request_type, targets)
