"""The badge of an enrollment link."""

from __future__ import annotations

from django import template
from django.utils.safestring import SafeString

from enrollment.models import EnrollmentLink, RefusedArrival
from enrollment.pages.arrivals import REASONS
from enrollment.pages.links import state
from mdm.templatetags.guard import badge

register = template.Library()


@register.simple_tag
def link_state(link: EnrollmentLink) -> SafeString:
    return badge(*state(link))


@register.simple_tag
def refused_reason(case: RefusedArrival) -> str:
    return REASONS.get(case.reason, case.reason)
