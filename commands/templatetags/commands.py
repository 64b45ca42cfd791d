"""Badges and bars for the states of commands."""

from __future__ import annotations

from collections.abc import Mapping

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from commands.models import QueueEntry
from commands.pages.states import LOOKS, State
from mdm.templatetags.guard import badge

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
def meter(counts: Mapping[str, int]) -> SafeString:
    """How far a command has come, as one bar; the numbers beside it say the same in words."""
    total = sum(counts.values()) or 1
    pieces, start = [], 0.0
    for known, look in LOOKS.items():
        width = 100 * counts.get(known.value, 0) / total
        if width:
            pieces.append((look.tone, f"{start:.3f}", f"{width:.3f}"))
            start += width
    words = ", ".join(f"{counts[s.value]:,} {s.value}" for s in LOOKS if counts.get(s.value))
    return format_html(
        '<svg class="meter" viewBox="0 0 100 1" preserveAspectRatio="none" role="img"'
        ' aria-label="{}">{}</svg>',
        words or "no receivers",
        format_html_join("", '<rect class="{}" x="{}" y="0" width="{}" height="1"></rect>', pieces),
    )
