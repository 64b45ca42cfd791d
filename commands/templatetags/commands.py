"""Badges and bars for the states of commands."""

from __future__ import annotations

from collections.abc import Mapping

from django import template
from django.utils.safestring import SafeString

from commands.models import Approval, QueueEntry
from commands.pages import approvals
from commands.pages.states import LOOKS, State
from mdm.templatetags.guard import badge, drawn_meter

register = template.Library()


@register.simple_tag
def entry_state(entry: QueueEntry, title: str = "") -> SafeString:
    return state(entry.state, title)


@register.simple_tag
def state(value: str, title: str = "") -> SafeString:
    known = State(value)
    look = LOOKS[known]
    return badge(known.value, look.tone, look.icon, title)


@register.simple_tag
def approval_state(approval: Approval) -> SafeString:
    word, tone, icon = approvals.LOOKS[approval.state]
    return badge(word, tone, icon, approval.because)


@register.simple_tag
def meter(counts: Mapping[str, int]) -> SafeString:
    """How far a command has come."""
    parts = [(known.value, look.tone, counts.get(known.value, 0)) for known, look in LOOKS.items()]
    return drawn_meter(parts, "no receivers")
