"""The apps on a simulated device, as InstalledApplicationList reports them; the rest of what it
reports is in `lab.devices.reports`."""

from __future__ import annotations

import random
from typing import Any

from lab.devices.hardware import Hardware, Model

USUAL, MANY = 45, 600
_KNOWN_IOS = (
    ("com.microsoft.Office.Outlook", "Microsoft Outlook", "4.2544.0"),
    ("com.microsoft.skype.teams", "Microsoft Teams", "7.18.1"),
    ("com.google.chrome.ios", "Chrome", "142.0.7444"),
    ("com.apple.Pages", "Pages", "14.4"),
    ("com.apple.Numbers", "Numbers", "14.4"),
    ("com.apple.Keynote", "Keynote", "14.4"),
    ("com.tinyspeck.chatlyio", "Slack", "25.11.10"),
    ("us.zoom.videomeetings", "Zoom Workplace", "6.6.5"),
    ("com.agilebits.onepassword-ios", "1Password", "8.11.16"),
    ("com.adobe.Adobe-Reader", "Adobe Acrobat Reader", "25.11.01"),
)
_KNOWN_MAC = (
    ("com.apple.Safari", "Safari", "26.1", "Apple"),
    ("com.apple.mail", "Mail", "16.0", "Apple"),
    ("com.apple.iWork.Pages", "Pages", "14.4", "App Store"),
    ("com.apple.dt.Xcode", "Xcode", "26.1", "App Store"),
    ("com.microsoft.Word", "Microsoft Word", "16.103", "Identified Developer"),
    ("com.microsoft.Excel", "Microsoft Excel", "16.103", "Identified Developer"),
    ("com.google.Chrome", "Google Chrome", "142.0.7444.60", "Identified Developer"),
    ("org.mozilla.firefox", "Firefox", "145.0", "Identified Developer"),
    ("com.tinyspeck.slackmacgap", "Slack", "4.47.59", "Identified Developer"),
    ("us.zoom.xos", "zoom.us", "6.6.6", "Identified Developer"),
)
_ADJECTIVES = "Bright Calm Daily Easy Fast Field Green Metro Nordic Open Pocket Quick Rapid Smart"
_NOUNS = "Atlas Budget Camera Diary Editor Forms Guide Journal Ledger Maps Notes Planner Scanner"
_MAKERS = "acme brightapps cobalt deltaworks evergreen fjord granite harbor"


def apps(machine: Hardware, large: bool) -> list[dict[str, Any]]:
    """The same list for the same machine in every run; `large` makes it hundreds long."""
    draw = random.Random(f"apps/{machine.serial}")
    count = MANY + draw.randrange(200) if large else USUAL + draw.randrange(20)
    make = _mac_app if machine.kind is Model.MAC else _ios_app
    return [make(index, draw) for index in range(count)]


def _ios_app(index: int, draw: random.Random) -> dict[str, Any]:
    if index < len(_KNOWN_IOS):
        identifier, name, version = _KNOWN_IOS[index]
    else:
        identifier, name, version = _invented(index, draw)
    return {
        "Identifier": identifier,
        "Name": name,
        "ShortVersion": version,
        "Version": f"{version}.{draw.randrange(100)}",
        "BundleSize": draw.randrange(5_000_000, 400_000_000),
        "DynamicSize": draw.randrange(100_000, 90_000_000),
        "ExternalVersionIdentifier": draw.randrange(850_000_000, 880_000_000),
        "AdHocCodeSigned": False,
        "AppStoreVendable": True,
        "BetaApp": False,
        "DeviceBasedVPP": False,
        "HasUpdateAvailable": draw.random() < 0.1,
        "Installing": False,
        "IsAppClip": False,
        "IsValidated": True,
    }


def _mac_app(index: int, draw: random.Random) -> dict[str, Any]:
    if index < len(_KNOWN_MAC):
        identifier, name, version, source = _KNOWN_MAC[index]
    else:
        identifier, name, version = _invented(index, draw)
        source = "Identified Developer"
    return {
        "Identifier": identifier,
        "Name": name,
        "ShortVersion": version,
        "Version": version,
        "BundleSize": draw.randrange(5_000_000, 900_000_000),
        "Installing": False,
        "Path": f"/Applications/{name}.app",
        "Source": source,
    }


def _invented(index: int, draw: random.Random) -> tuple[str, str, str]:
    name = f"{draw.choice(_ADJECTIVES.split())} {draw.choice(_NOUNS.split())}"
    slug = name.lower().replace(" ", "")
    version = f"{draw.randrange(1, 12)}.{draw.randrange(20)}.{draw.randrange(10)}"
    return f"com.{draw.choice(_MAKERS.split())}.{slug}{index}", name, version
