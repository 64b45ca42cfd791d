"""What every template of the dashboard draws with: icons, times, badges, parts, tables' cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from django import template
from django.conf import settings
from django.contrib.messages.storage.base import Message
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.files.storage import Storage
from django.forms import BoundField
from django.template.engine import Engine
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from mdm import identities, moments, navigation, standing
from mdm.audit.models import AuditEvent
from mdm.health.things import Thing
from mdm.models import Device, Identity
from mdm.pages import audit
from mdm.pages.frame import Undo
from mdm.tables import Column, View

register = template.Library()


@register.simple_tag
def icon(name: str, css: str = "") -> SafeString:
    """An icon of `mdm/icons.svg`; always beside a word, so hidden from screen readers."""
    return format_html(
        '<svg class="icon {}" aria-hidden="true" focusable="false"><use href="{}#{}"/></svg>',
        css,
        _sprite(staticfiles_storage),
        name,
    )


@cache
def _sprite(storage: Storage) -> str:
    """Where the icons are; a page has hundreds of them."""
    return storage.url("mdm/icons.svg")


@register.simple_tag
def history_end() -> str:
    """Why a list of history ends where it does (mdm/retention.py)."""
    return f"Older than {settings.ENV.history_days} days is not kept."


@register.simple_tag
def ago(moment: datetime | str | None, otherwise: str = "never") -> SafeString | str:
    """A time in words; hovering shows it exactly, in the viewer's zone."""
    if not isinstance(moment, datetime):
        return format_html('<span class="text-secondary">{}</span>', otherwise)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        moment.astimezone(UTC).isoformat(timespec="milliseconds"),
        moments.exact(moment),
        in_words(moment, timezone.now()),
    )


@register.simple_tag
def exact(moment: datetime) -> str:
    """A time to the second, with its zone, for a title."""
    return moments.exact(moment)


def in_words(moment: datetime, now: datetime) -> str:
    """`5 minutes ago`, `in 3 days`; a date once it is more than a year away."""
    seconds = int((now - moment).total_seconds())
    distance = abs(seconds)
    if distance < 10:
        return "just now"
    if distance >= 365 * 86_400:
        return timezone.localtime(moment).strftime("%Y-%m-%d")
    size, unit = next((size, unit) for size, unit in _UNITS if distance >= size)
    number = distance // size if seconds > 0 else -(-distance // size)
    words = f"{number} {unit}{'' if number == 1 else 's'}"
    return f"{words} ago" if seconds > 0 else f"in {words}"


@register.filter("lasted")
def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `2 min 5 s`, `1 h 3 min`."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))

_TONES = {
    "good": "bg-green-lt",
    "busy": "bg-azure-lt",
    "warning": "bg-orange-lt",
    "bad": "bg-red-lt",
    "off": "bg-secondary-lt",
}


@register.simple_tag
def badge(word: str, tone: str, icon_name: str, title: str = "") -> SafeString:
    """A state: icon and word in the color of its tone; `title` is the evidence on hover."""
    return format_html(
        '<span class="badge state {}"{}>{}<span>{}</span></span>',
        _TONES[tone],
        format_html(' title="{}"', title) if title else "",
        icon(icon_name),
        word,
    )


_IDENTITY_LOOKS = {
    identities.State.CURRENT: ("good", "circle-check"),
    identities.State.WAITING: ("busy", "hourglass"),
    identities.State.REVOKED: ("off", "ban"),
    identities.State.ENDED: ("off", "circle-off"),
}


@register.simple_tag
def identity_badge(identity: Identity) -> SafeString:
    """How it stands with an identity; one that is in use and over is worth a second look."""
    now = timezone.now()
    state = identities.of(identity, now)
    if state is identities.State.CURRENT and identity.expires_at <= now:
        return badge("In use, past its end", "warning", "alert-triangle")
    return badge(state.label, *_IDENTITY_LOOKS[state])


_THING_ICONS = {
    "good": "circle-check",
    "busy": "progress",
    "warning": "alert-triangle",
    "bad": "alert-circle",
    "off": "circle-off",
}


@register.simple_tag
def health_badge(thing: Thing) -> SafeString:
    """How it stands with a part of the server."""
    return badge(thing.word, thing.tone, _THING_ICONS[thing.tone])


def drawn_meter(parts: Sequence[tuple[str, str, int]], otherwise: str) -> SafeString:
    """How far something has come, as one bar of parts: word, tone and count of each. The numbers
    beside it say the same in words; with nothing to count it says `otherwise`.
    """
    shown = [part for part in parts if part[2]]
    total = sum(count for _, _, count in shown)
    pieces, start = [], 0.0
    for _, tone, count in shown:
        width = 100 * count / total
        pieces.append((tone, f"{start:.3f}", f"{width:.3f}"))
        start += width
    return format_html(
        '<svg class="meter" viewBox="0 0 100 1" preserveAspectRatio="none" role="img"'
        ' aria-label="{}">{}</svg>',
        ", ".join(f"{count:,} {word}" for word, _, count in shown) or otherwise,
        format_html_join("", '<rect class="{}" x="{}" y="0" width="{}" height="1"></rect>', pieces),
    )


@register.simple_tag
def work_meter(work: navigation.Work) -> SafeString:
    """How far something long has come, where that is known."""
    if not work.total:
        return SafeString("")
    left = max(0, work.total - work.done)
    return drawn_meter([("done", "busy", work.done), ("left", "rest", left)], work.words)


@register.simple_tag
def standing_of(device: Device) -> standing.Standing:
    return standing.of(device, timezone.now())


@register.simple_tag
def standing_badge(device: Device) -> SafeString:
    now = timezone.now()
    stands = standing.of(device, now)
    since = f" Since {moments.moment(stands.since)}." if stands.since else ""
    return badge(stands.word, stands.tone, stands.icon, stands.why + since)


_GLYPHS = {
    "iOS": "device-mobile",
    "iPadOS": "device-ipad",
    "macOS": "device-laptop",
    "tvOS": "device-tv",
    "visionOS": "device-vision-pro",
    "watchOS": "device-watch",
}


@register.simple_tag
def glyph(device: Device, css: str = "") -> SafeString:
    """The picture for a device's platform."""
    return icon(_GLYPHS.get(device.platform, "devices"), css)


@register.simple_tag(takes_context=True)
def parts(context: template.RequestContext, place: str, subject: Any = None) -> SafeString:
    """Everything that apps registered for this place of the page, and that the person may see."""
    may = context["may"]
    drawn = (
        (_drawn(part, subject, context),) for part in navigation.parts(place) if part.right in may
    )
    return format_html_join("\n", "{}", drawn)


def _drawn(part: navigation.Part, subject: Any, context: template.RequestContext) -> str:
    # What the person may do to the page's device, where it is one device's.
    return _included(context, part.template, may=context["may"], **part.context(subject))


def _included(context: template.Context, name: str, **values: Any) -> SafeString:
    """Another template drawn in this one's place, as `include` does it: by itself it would ask
    every context processor anew, and a page has hundreds of them.
    """
    with context.push(**values):
        return Engine.get_default().get_template(name).render(context)


@register.simple_tag(takes_context=True)
def cells(context: template.Context, view: View, row: Any) -> SafeString:
    """The cells of a row; text is escaped."""
    drawn = ((start, _cell(context, column, row)) for column, start in view.cells)
    return format_html_join("", "{}{}</td>", drawn)


def _cell(context: template.Context, column: Column, row: Any) -> SafeString | str:
    if column.template:
        return _included(context, column.template, row=row)
    value = column.value(row)
    if isinstance(value, datetime):
        return ago(value)
    if value is None or value == "":
        return _NOTHING
    return str(value)


_NOTHING = SafeString('<span class="text-secondary">—</span>')


@register.filter
def undo(message: Message) -> dict[str, Any] | None:
    """The way back that a message offers, for as long as it does."""
    return Undo.of(message)


@register.filter
def change(event: AuditEvent) -> str:
    """What an audit event changed, in a line."""
    return audit.change(event)


@register.filter
def percent(part: int, whole: int) -> str:
    """`part` of `whole` as a number that SVG takes as a width."""
    return f"{100 * part / whole:.3f}" if whole else "0"


@register.filter
def human(name: str) -> str:
    """`InstalledApplicationList` as `Installed application list`; Apple's shouting words stay."""
    words: list[str] = []
    for letter in str(name):
        if words and letter.isupper() and not (words[-1][-1:].isupper()):
            words.append(letter)
        elif words and letter.islower() and len(words[-1]) > 1 and words[-1].isupper():
            words[-1], tail = words[-1][:-1], words[-1][-1]
            words.append(tail + letter)
        elif words:
            words[-1] += letter
        else:
            words.append(letter)
    return " ".join(_lower_unless_shouting(words))


def _lower_unless_shouting(words: Iterable[str]) -> list[str]:
    return [w if i == 0 or w.isupper() else w.lower() for i, w in enumerate(words)]


@register.filter("hex")
def as_hex(value: bytes | memoryview | None) -> str:
    return bytes(value).hex() if value is not None else ""


@register.filter
def styled(field: BoundField) -> SafeString:
    """A form's field in Tabler's dress, tied to its error and its help."""
    kind = getattr(field.field.widget, "input_type", "")
    css = {"checkbox": "form-check-input", "select": "form-select"}.get(kind, "form-control")
    attributes: dict[str, str | bool] = {"class": f"{css} is-invalid" if field.errors else css}
    if field.errors:
        attributes["aria-invalid"] = "true"
        attributes["aria-describedby"] = f"{field.id_for_label}-error"
    return SafeString(field.as_widget(attrs=attributes))
