"""What a device gets in return for a check-in message."""

from __future__ import annotations

import json
from dataclasses import dataclass

from mdm.protocol.plist import plist_dumps


@dataclass(frozen=True, slots=True)
class Answer:
    body: bytes = b""
    content_type: str = "application/xml; charset=UTF-8"
    status: int = 200

    @classmethod
    def plist(cls, content: dict[str, object]) -> Answer:
        return cls(plist_dumps(content))

    @classmethod
    def json(cls, content: object) -> Answer:
        return cls(json.dumps(content).encode(), "application/json")
