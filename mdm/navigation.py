"""What the dashboard shows beside the page: navigation entries and device panels.

Apps fill these registries from their `AppConfig.ready`; the frame's templates read them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import reverse


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the navigation. `section` groups entries; "" stands at the top level."""

    label: str
    url_name: str
    icon: str
    section: str = ""
    order: int = 100

    @property
    def url(self) -> str:
        return reverse(self.url_name)


@dataclass(frozen=True, slots=True)
class Panel:
    """A tab of the device page: `context(enrollment)` gives what `template` needs."""

    slug: str
    label: str
    template: str
    context: Callable[[Any], dict[str, object]]
    order: int = 100


_entries: list[Entry] = []
_panels: list[Panel] = []


def add_entry(entry: Entry) -> None:
    if entry not in _entries:
        _entries.append(entry)


def add_panel(panel: Panel) -> None:
    if all(panel.slug != known.slug for known in _panels):
        _panels.append(panel)


def entries() -> list[Entry]:
    return sorted(_entries, key=lambda entry: (entry.order, entry.label))


def panels() -> list[Panel]:
    return sorted(_panels, key=lambda panel: (panel.order, panel.label))


def sections() -> list[tuple[str, list[Entry]]]:
    """Entries by section, in order of each section's first entry."""
    grouped: dict[str, list[Entry]] = {}
    for entry in entries():
        grouped.setdefault(entry.section or entry.label, []).append(entry)
    return list(grouped.items())


def context(request: HttpRequest) -> dict[str, object]:
    """Template context for every page of the dashboard."""
    return {"navigation": sections(), "current_path": request.path}
