"""Badges for what Apple Business Manager is said to know, and for runs of the sync."""

from __future__ import annotations

from collections.abc import Mapping

from django import template
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from abm.models import AbmDevice, LedgerEntry, Server, SyncRun
from abm.pages import words
from abm.state import State
from mdm.templatetags.guard import badge, drawn_meter, duration, icon

register = template.Library()


@register.simple_tag
def server_state(state: State) -> SafeString:
    return badge(state.word, state.tone, state.icon, state.why)


@register.simple_tag
def run_state(run: SyncRun) -> SafeString:
    look = words.RUN_LOOKS[run.state]
    return badge(look.word, look.tone, look.icon, words.outcome(run))


@register.simple_tag
def disown_state(value: str, title: str = "") -> SafeString:
    look = words.DISOWN_LOOKS[value]
    return badge(look.word, look.tone, look.icon, title)


@register.simple_tag
def disown_meter(counts: Mapping[str, int]) -> SafeString:
    """How far it has come with the devices of a Disown."""
    looks = words.DISOWN_LOOKS.items()
    parts = [(look.word, look.tone, counts.get(key, 0)) for key, look in looks]
    return drawn_meter(parts, "no devices")


@register.simple_tag
def assignment_meter(counts: Mapping[str, int]) -> SafeString:
    """How it stands with the profiles of a server's devices."""
    looks = words.ASSIGNMENT_LOOKS.items()
    parts = [(look.word, look.tone, counts.get(key, 0)) for key, look in looks]
    return drawn_meter(parts, "no devices")


@register.simple_tag
def assignment_legend(
    server: Server, counts: Mapping[str, int]
) -> list[tuple[words.Look, int, str]]:
    """The parts of the meter that are not empty, each with the devices that it counts."""
    devices = reverse("abm:devices")
    return [
        (
            look,
            counts[key],
            f"{devices}?server={server.pk}&assignment={words.ASSIGNMENT_WORDS[key]}",
        )
        for key, look in words.ASSIGNMENT_LOOKS.items()
        if counts.get(key)
    ]


register.simple_tag(duration)


@register.simple_tag
def decision(entry: LedgerEntry) -> SafeString:
    look = words.DECISION_LOOKS[entry.decision]
    return badge(look.word, look.tone, look.icon, words.decided(entry))


@register.simple_tag
def decision_icon(entry: LedgerEntry) -> SafeString:
    return icon(words.DECISION_LOOKS[entry.decision].icon)


@register.simple_tag
def profile_status(device: AbmDevice) -> SafeString:
    """Apple's word for how it stands with the device's profile; "empty" is what it calls none."""
    look = words.PROFILE_LOOKS.get(device.profile_status)
    if look is not None:
        return badge(look.word, look.tone, look.icon)
    if device.profile_status:
        return badge(device.profile_status, "off", "info-circle")
    return format_html('<span class="text-secondary">{}</span>', "—")


_GLYPHS = {
    "iPhone": "device-mobile",
    "iPod": "device-mobile",
    "iPad": "device-ipad",
    "Mac": "device-laptop",
    "AppleTV": "device-tv",
    "Vision": "device-vision-pro",
    "Watch": "device-watch",
}


@register.simple_tag
def family_glyph(device: AbmDevice) -> SafeString:
    return icon(_GLYPHS.get(device.device_family, "devices"))
