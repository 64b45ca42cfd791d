"""Words and badges of the pages about ADE profiles."""

from __future__ import annotations

from django import template
from django.utils.safestring import SafeString

from abm.models import Definition
from mdm.templatetags.guard import badge, duration

register = template.Library()

_LOOKS = {
    Definition.State.WAITING: ("To be defined", "busy", "hourglass"),
    Definition.State.DEFINED: ("Defined", "good", "circle-check"),
    Definition.State.REFUSED: ("Refused", "bad", "alert-circle"),
}


@register.simple_tag
def definition_state(definition: Definition) -> SafeString:
    word, tone, icon = _LOOKS[Definition.State(definition.state)]
    return badge(word, tone, icon)


@register.filter
def seconds_words(seconds: float) -> str:
    return duration(seconds)


@register.simple_tag
def about(seconds: float) -> str:
    """`which takes about 12 s`."""
    return f"which takes about {duration(seconds)}"
