"""Our word for the OS of a device in ABM, in Python and in SQL."""

from __future__ import annotations

from mdm.models import Device

_BY_OS: dict[str, str] = {
    "iOS": Device.Platform.IOS,
    "iPadOS": Device.Platform.IPADOS,
    "OSX": Device.Platform.MACOS,
    "macOS": Device.Platform.MACOS,
    "tvOS": Device.Platform.TVOS,
    "visionOS": Device.Platform.VISIONOS,
    "watchOS": Device.Platform.WATCHOS,
}
_BY_FAMILY: dict[str, str] = {
    "iPhone": Device.Platform.IOS,
    "iPod": Device.Platform.IOS,
    "Mac": Device.Platform.MACOS,
    "AppleTV": Device.Platform.TVOS,
    "Vision": Device.Platform.VISIONOS,
    "Watch": Device.Platform.WATCHOS,
}


def platform(os: str, family: str) -> str:
    """Ours for Apple's `os` and `device_family`; older answers call iPadOS iOS. "" for none."""
    if family == "iPad":
        return Device.Platform.IPADOS
    return _BY_OS.get(os) or _BY_FAMILY.get(family, "")


def _whens(column: str, words: dict[str, str]) -> str:
    return " ".join(f"WHEN {column} = '{theirs}' THEN '{ours}'" for theirs, ours in words.items())


def platform_sql(os: str, family: str) -> str:
    """`platform` of two columns."""
    return (
        f"CASE WHEN {family} = 'iPad' THEN '{Device.Platform.IPADOS}'"
        f" {_whens(os, _BY_OS)} {_whens(family, _BY_FAMILY)} ELSE '' END"
    )
