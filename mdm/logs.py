"""What a log line must not say: secrets that travel in a URL's path.

Apps whose addresses hold one name them here when they load; `mdm/settings.py` masks every line.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import Any

MASK = "***"


def hide_after(prefix: str) -> None:
    """Mask the path segment that follows `prefix`, such as "/enroll/", in every line. Of two
    prefixes that fit, the longer one says where the secret is.
    """
    _hidden[prefix] = re.compile(re.escape(prefix) + r"[^/\s?'\"]+")


def mask_paths(_: object, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: the event, the request and the exception without hidden segments."""
    for key in ("event", "request", "path", "exception"):
        text = line.get(key)
        if isinstance(text, str):
            line[key] = _masked(text)
    return line


_hidden: dict[str, re.Pattern[str]] = {}


def _masked(text: str) -> str:
    for prefix in sorted(_hidden, key=len, reverse=True):
        if prefix in text:
            text = _hidden[prefix].sub(prefix + MASK, text)
    return text
