"""Device tokens and the pushes held for them: only the newest for each device while it is away,
until it expires. Who may push at all is decided in `lab.apns.rules`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

Receiver = Callable[[str], None]
"""Takes the push magic of a push, on the event loop's thread."""


@dataclass(frozen=True, slots=True)
class Push:
    """`expires` is in Unix seconds; 0 means: deliver at once or never."""

    magic: str
    expires: int


@dataclass(slots=True)
class _Box:
    topic: str
    receiver: Receiver | None = None
    held: Push | None = None
    retired_at: int | None = None


class Postbox:
    """`now` gives Unix seconds. Tokens are lowercase hex."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._boxes: dict[str, _Box] = {}

    def register(self, token: str, topic: str) -> None:
        """The device holds `token` for `topic` from now on."""
        self._boxes[token] = _Box(topic)

    def attach(self, token: str, receiver: Receiver) -> None:
        """The device is online: what was held is delivered, later pushes arrive at once."""
        box = self._boxes[token]
        box.receiver = receiver
        held, box.held = box.held, None
        if held is not None and held.expires > self._now():
            receiver(held.magic)

    def detach(self, token: str) -> None:
        """The device is away; unknown tokens are none of our business."""
        box = self._boxes.get(token)
        if box is not None:
            box.receiver = None

    def now_ms(self) -> int:
        """The present, in milliseconds since 1970."""
        return int(self._now() * 1000)

    def retire(self, token: str) -> None:
        """The device gave the token up (profile removed, erased): pushes get a 410 from now on."""
        box = self._boxes.get(token)
        if box is not None:
            box.receiver, box.held = None, None
            box.retired_at = self.now_ms()

    def topic(self, token: str) -> str | None:
        """The topic a token belongs to; None for a token that was never given out."""
        box = self._boxes.get(token)
        return box.topic if box is not None else None

    def retired_at(self, token: str) -> int | None:
        """Milliseconds since 1970 of when the token ceased to be valid; None while it is."""
        return self._boxes[token].retired_at

    def accept(self, token: str, push: Push) -> None:
        """Deliver, or hold until the device is back."""
        box = self._boxes[token]
        if box.receiver is not None:
            box.receiver(push.magic)
        elif push.expires > self._now():
            box.held = push

    def held(self, token: str) -> Push | None:
        """The push waiting for a device that is away."""
        box = self._boxes.get(token)
        return box.held if box is not None else None

    def snapshot(self) -> dict[str, list[object]]:
        """What must survive a restart, as JSON: topic, held push, time of retirement."""
        return {
            token: [
                box.topic,
                [box.held.magic, box.held.expires] if box.held else None,
                box.retired_at,
            ]
            for token, box in self._boxes.items()
        }

    def restore(self, snapshot: dict[str, list[object]]) -> None:
        """Take over what `snapshot` gave in an earlier run."""
        for token, (topic, held, retired_at) in snapshot.items():
            box = _Box(str(topic))
            if isinstance(held, list):
                box.held = Push(str(held[0]), int(held[1]))
            if isinstance(retired_at, int):
                box.retired_at = retired_at
            self._boxes[token] = box
