"""What a profile says, for people: its keys with words for their values, its panes, and the form
that changes them.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from django.http import QueryDict

from profiles.models import Version
from profiles.wire.content import KEYS, Key, Kind, Section
from profiles.wire.panes import BY_KEY, PANES, Pane

# What Setup Assistant shows at least once to each person is worth skipping for most organizations.
RECOMMENDED = frozenset(
    {
        *("Android", "Appearance", "AppleID", "AppStore", "CameraButton", "Diagnostics"),
        *("DeviceToDeviceMigration", "ActionButton", "Intelligence", "iCloudDiagnostics"),
        *("iCloudStorage", "iMessageAndFaceTime", "LiquidGlass", "Multitasking", "OSShowcase"),
        *("OnBoarding", "Payment", "Privacy", "Restore", "RestoreCompleted", "Safety"),
        *("ScreenSaver", "ScreenTime", "Siri", "Tips", "TOS", "TVHomeScreenSync"),
        *("TVProviderSignIn", "TVRoom", "UnlockWithWatch", "UpdateCompleted", "WatchMigration"),
        *("Welcome", "Zoom", "DisplayTone", "HomeButtonSensitivity"),
    }
)
_OS_ORDER = ("iOS", "macOS", "tvOS", "visionOS")


@dataclass(frozen=True, slots=True)
class Shown:
    """A key with its value in words."""

    key: Key
    value: str


@dataclass(frozen=True, slots=True)
class PanesShown:
    """What Setup Assistant skips, by title; the panes that remain on each OS; and skip keys that
    are not known here.
    """

    skipped: list[Pane]
    remaining: list[tuple[str, list[Pane]]]
    others: list[str]


def shown(version: Version) -> list[tuple[str, list[Shown]]]:
    """The keys of a version by section of the form, panes left out."""
    sections: dict[str, list[Shown]] = {}
    for key in KEYS:
        if key.kind is not Kind.PANES:
            found = Shown(key, value_words(key, version.content.get(key.key, key.apple)))
            sections.setdefault(str(key.section), []).append(found)
    return list(sections.items())


def panes(content: Mapping[str, Any]) -> PanesShown:
    """What a content skips, and what is left."""
    chosen = set(content.get("skip_setup_items", []))
    remaining = []
    for os in _OS_ORDER:
        left = [
            pane
            for pane in PANES
            if pane.key not in chosen
            and any(each.os == os and not each.removed for each in pane.on)
        ]
        remaining.append((os, left))
    return PanesShown(
        skipped=[pane for pane in PANES if pane.key in chosen],
        remaining=remaining,
        others=sorted(chosen - set(BY_KEY)),
    )


def value_words(key: Key, value: Any) -> str:
    """A value as people say it; "" for nothing."""
    if key.kind is Kind.FLAG:
        return "yes" if value else "no"
    if key.kind is Kind.CERTIFICATES:
        return ", ".join(map(_subject, value))
    if key.kind is Kind.PANES:
        return ", ".join(BY_KEY[each].title if each in BY_KEY else each for each in value)
    return str(value)


def _subject(encoded: str) -> str:
    try:
        found = x509.load_der_x509_certificate(base64.b64decode(encoded))
        return found.subject.rfc4514_string()[:200]
    except ValueError:
        return "a certificate that cannot be read"


# --- The form ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A key as the form draws it."""

    key: Key
    value: Any
    errors: list[str]

    @property
    def is_flag(self) -> bool:
        return self.key.kind is Kind.FLAG

    @property
    def is_certificates(self) -> bool:
        return self.key.kind is Kind.CERTIFICATES


@dataclass(frozen=True, slots=True, kw_only=True)
class PaneChoice:
    """A pane as the form draws it; `words` are what the search looks in."""

    pane: Pane
    chosen: bool
    recommended: bool

    @property
    def words(self) -> str:
        pane = self.pane
        return f"{pane.key} {pane.title} {pane.line} {pane.where}".lower()


def fields(
    content: Mapping[str, Any], errors: Mapping[str, list[str]]
) -> list[tuple[str, list[Field]]]:
    """The form's fields by section, panes left out."""
    sections: dict[str, list[Field]] = {str(section): [] for section in Section}
    for key in KEYS:
        if key.kind is not Kind.PANES:
            value = content.get(key.key, key.apple)
            if key.kind is Kind.CERTIFICATES and isinstance(value, list):
                value = "\n\n".join(value)
            field = Field(key=key, value=value, errors=errors.get(key.key, []))
            sections[str(key.section)].append(field)
    return list(sections.items())


def pane_choices(content: Mapping[str, Any]) -> list[PaneChoice]:
    chosen = set(content.get("skip_setup_items", []))
    return [
        PaneChoice(pane=pane, chosen=pane.key in chosen, recommended=pane.key in RECOMMENDED)
        for pane in PANES
    ]


def other_panes(content: Mapping[str, Any]) -> str:
    """The chosen skip keys that are not known here."""
    return " ".join(key for key in content.get("skip_setup_items", []) if key not in BY_KEY)


def read(form: QueryDict) -> dict[str, Any]:
    """The content that a posted form holds, not checked yet."""
    content: dict[str, Any] = {}
    for key in KEYS:
        if key.kind is Kind.FLAG:
            content[key.key] = form.get(key.key) == "on"
        elif key.kind is Kind.PANES:
            content[key.key] = [*form.getlist(key.key), *form.get("other_panes", "").split()]
        elif key.kind is Kind.CERTIFICATES:
            content[key.key] = _certificates(form.get(key.key, ""))
        else:
            content[key.key] = form.get(key.key, "")
    return content


def _certificates(text: str) -> list[str]:
    """PEM as it is; else base64 with empty lines between certificates."""
    text = text.replace("\r\n", "\n").strip()
    if "-----BEGIN" not in text:
        return [block for block in text.split("\n\n") if block.strip()]
    pem, _, rest = text.rpartition("-----END CERTIFICATE-----")
    found = [f"{pem}-----END CERTIFICATE-----"] if pem else []
    return [*found, rest] if rest.strip() else found
