"""What other apps add to the dashboard: navigation entries, device panels, parts of pages.

Apps fill these registries from their `AppConfig.ready`; the frame's templates read them. The
core's own entries stand in `mdm/pages/registered.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from django.http import HttpRequest, QueryDict
from django.urls import reverse
from django.utils.functional import SimpleLazyObject

from mdm.audit.actor import Actor


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the navigation, for those who have its `right`. `section` groups entries; "" stands
    at the top level.
    """

    label: str
    url_name: str
    icon: str
    section: str = ""
    order: int = 100
    right: str = "server.read"

    @property
    def url(self) -> str:
        return reverse(self.url_name)


@dataclass(frozen=True, slots=True)
class Panel:
    """A tab of the device page, for those who have its `right`: `context(device, query)` gives what
    `template` needs.
    """

    slug: str
    label: str
    template: str
    context: Callable[[Any, QueryDict], dict[str, object]]
    order: int = 100
    right: str = "device.read"


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a page that another app fills, for those who have its `right`; `context(subject)`
    gives what `template` needs.

    Places and their subjects: "bar", "devices.bulk", "overview" and "overview.wide" (None);
    "device.actions", "device.menu", "device.danger", "device.notices" and "device.news" (the
    Device).
    """

    place: str
    template: str
    context: Callable[[Any], dict[str, object]] = lambda subject: {}
    order: int = 100
    right: str = "device.read"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A line of a device's timeline. `what` and `detail` may come from the device."""

    at: datetime
    icon: str
    what: str
    detail: str = ""
    url: str = ""


# (device, before, limit) gives at most `limit` events before that moment, newest first.
Events = Callable[[Any, datetime, int], Iterable[Event]]


@dataclass(frozen=True, slots=True)
class Attention:
    """Something that needs an admin: what is wrong, what stops working, and one button."""

    what: str
    why: str
    button: str
    url: str
    tone: Literal["danger", "warning"] = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiry:
    """Something that ends: what it is, when, what stops working then, and where to renew it, unless
    nobody can yet.
    """

    what: str
    at: datetime
    stops: str
    button: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Number:
    """One of the large numbers of the overview, which leads to what it counts."""

    label: str
    value: int
    icon: str
    words: str
    url: str


@dataclass(frozen=True, slots=True)
class Pulse:
    """Whether a device page is still true: `mark` changes when something shown there does.

    `busy` asks to look often, because an answer may come any moment.
    """

    mark: str
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """A line of what the search of the top bar found; `device` is the id of the device that it is
    about.
    """

    name: str
    url: str
    icon: str
    detail: str = ""
    device: int | None = None


@dataclass(frozen=True, slots=True)
class Finder:
    """Another place that the search of the top bar looks into: `find(text, limit)` gives at most so
    many lines, and `url(text)` leads to all of them. For those who have its `right`.
    """

    label: str
    find: Callable[[str, int], list[Found]]
    url: Callable[[str], str]
    right: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Something long that goes on: how much of it is done, out of what is known to be there (None
    where nobody knows), in words too, and the page that tells all about it.
    """

    what: str
    url: str
    words: str
    since: datetime
    done: int = 0
    total: int | None = None


# (actor) gives the work that goes on, as far as that actor may see it.
WorkSource = Callable[[Actor], Iterable[Work]]

_entries: list[Entry] = []
_panels: list[Panel] = []
_parts: list[Part] = []
_events: list[Events] = []
_attention: list[Callable[[], Iterable[Attention]]] = []
_counted_attention: list[Callable[[], Iterable[Attention]]] = []
_expiries: list[Callable[[], Iterable[Expiry]]] = []
_numbers: list[tuple[int, Callable[[], Number]]] = []
_finders: list[Finder] = []
_work: list[WorkSource] = []
_pulses: list[Callable[[Any], Pulse]] = []


def add_entry(entry: Entry) -> None:
    if entry not in _entries:
        _entries.append(entry)


def add_panel(panel: Panel) -> None:
    if all(panel.slug != known.slug for known in _panels):
        _panels.append(panel)


def add_part(part: Part) -> None:
    if all((part.place, part.template) != (known.place, known.template) for known in _parts):
        _parts.append(part)


def add_events(source: Events) -> None:
    if source not in _events:
        _events.append(source)


def add_attention(source: Callable[[], Iterable[Attention]], *, counts: bool = False) -> None:
    """`source` is asked on each view of the overview: a query or two, never a call outside. One
    that `counts` devices is asked once a minute instead where they are many.
    """
    sources = _counted_attention if counts else _attention
    if source not in sources:
        sources.append(source)


def add_expiries(source: Callable[[], Iterable[Expiry]]) -> None:
    """`source` is asked on each view of the overview, as with `add_attention`."""
    if source not in _expiries:
        _expiries.append(source)


def add_number(source: Callable[[], Number], order: int) -> None:
    """For those who have the right "server.read"; asked on each view of the overview, or once a
    minute where devices are many.
    """
    if all(source is not known for _, known in _numbers):
        _numbers.append((order, source))


def add_pulse(source: Callable[[Any], Pulse]) -> None:
    """`source(device)` is asked every two seconds while a device page is open: one statement."""
    if source not in _pulses:
        _pulses.append(source)


def add_work(source: WorkSource) -> None:
    """`source` is asked every few seconds while someone watches: some statements, no more."""
    if source not in _work:
        _work.append(source)


def add_finder(finder: Finder) -> None:
    if finder not in _finders:
        _finders.append(finder)


def entries() -> list[Entry]:
    return sorted(_entries, key=lambda entry: (entry.order, entry.label))


def panels(may: Container[str]) -> list[Panel]:
    """The tabs of a device page for who may do so much."""
    offered = [panel for panel in _panels if panel.right in may]
    return sorted(offered, key=lambda panel: (panel.order, panel.label))


def parts(place: str) -> list[Part]:
    return sorted((part for part in _parts if part.place == place), key=lambda part: part.order)


def events(device: Any, before: datetime, limit: int) -> list[Event]:
    """What happened to a device before that moment, newest first, from all apps."""
    found = [event for source in _events for event in source(device, before, limit)]
    return sorted(found, key=lambda event: event.at, reverse=True)[:limit]


def attention() -> list[Attention]:
    """Everything that needs an admin now."""
    return [item for source in _attention for item in source()]


def counted_attention() -> list[Attention]:
    """The same of the sources that count devices."""
    return [item for source in _counted_attention for item in source()]


def expiries() -> list[Expiry]:
    """Everything that ends some day, the nearest first."""
    return sorted((item for source in _expiries for item in source()), key=lambda item: item.at)


def numbers() -> list[Number]:
    return [source() for _, source in sorted(_numbers, key=lambda number: number[0])]


def finders(may: Container[str]) -> list[Finder]:
    return [finder for finder in _finders if finder.right in may]


def work(actor: Actor) -> list[Work]:
    """Everything long that goes on, the newest first."""
    found = [each for source in _work for each in source(actor)]
    return sorted(found, key=lambda each: each.since, reverse=True)


def pulse(device: Any) -> Pulse:
    """What all apps say about the device's page, in one."""
    heard = [source(device) for source in _pulses]
    marks = "|".join(each.mark for each in heard)
    return Pulse(
        mark=hashlib.sha256(marks.encode()).hexdigest()[:16],
        busy=any(each.busy for each in heard),
    )


def sections(may: Container[str]) -> list[tuple[str, list[Entry]]]:
    """Entries by section, in order of each section's first entry; "" for the top level. Those
    alone whose right `may` holds.
    """
    grouped: dict[str, list[Entry]] = {}
    for entry in entries():
        if entry.right not in may:
            continue
        grouped.setdefault(entry.section or f"\0{entry.label}", []).append(entry)
    return [("" if label.startswith("\0") else label, lines) for label, lines in grouped.items()]


def context(request: HttpRequest) -> dict[str, object]:
    """Template context for every page: the navigation, which of its entries is open, and what the
    person may do, asked as `{% if "link.create" in may %}`.
    """
    may = SimpleLazyObject(lambda: _may(request))
    return {"navigation": SimpleLazyObject(lambda: _navigation(request.path, may)), "may": may}


def _may(request: HttpRequest) -> Container[str]:
    return Actor.of(request) if request.user.is_authenticated else ()


def _navigation(path: str, may: Container[str]) -> dict[str, object]:
    urls = [entry.url for entry in entries()]
    fitting = [url for url in urls if path == url or (url != "/" and path.startswith(url))]
    return {"sections": sections(may), "current": max(fitting, key=len, default="")}
