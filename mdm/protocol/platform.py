"""Which platform a machine runs, told by its ProductName (Apple's model identifiers)."""

from __future__ import annotations


def platform_of(product_name: str | None) -> str:
    """The platform in Apple's spelling ("iOS", "iPadOS", "macOS", ...), "" where unknown."""
    name = (product_name or "").lower()
    for prefix, platform in _BY_PREFIX:
        if name.startswith(prefix):
            return platform
    return "macOS" if "mac" in name else ""


_BY_PREFIX = (
    ("iphone", "iOS"),
    ("ipod", "iOS"),
    ("ipad", "iPadOS"),
    ("appletv", "tvOS"),
    ("audioaccessory", "tvOS"),
    ("realitydevice", "visionOS"),
    ("watch", "watchOS"),
)
