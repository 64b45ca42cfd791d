"""What devices and the server said to each other over connect, as the devices saw it."""

from __future__ import annotations

import plistlib
from collections import defaultdict

from lab.http import Answer, Web, Webs

ORDERED = "ordered"

Order = tuple[str, str, str]
"""UDID, UserID (empty for the device itself) and CommandUUID, all in lower case."""


class Diary:
    """`events` tells of each command, in order: ORDERED when the device received it, the status
    of an answer when the server had taken that.
    """

    def __init__(self) -> None:
        self.events: dict[Order, list[str]] = defaultdict(list)

    def note(self, said: bytes, answered: bytes) -> None:
        """One exchange that ended in a 2xx."""
        report = plistlib.loads(said)
        if "Status" not in report:
            return
        receiver = (report["UDID"].lower(), report.get("UserID", "").lower())
        if "CommandUUID" in report:
            self.events[*receiver, report["CommandUUID"].lower()].append(report["Status"])
        if answered:
            order = plistlib.loads(answered)
            self.events[*receiver, order["CommandUUID"].lower()].append(ORDERED)


class WatchedWebs(Webs):
    """Connections of devices that keep a diary."""

    def __init__(self, diary: Diary) -> None:
        super().__init__()
        self._diary = diary

    def trusting(self, authorities: bytes) -> Web:
        if authorities not in self._webs:
            self._webs[authorities] = _WatchedWeb(authorities, self._diary)
        return self._webs[authorities]


class _WatchedWeb(Web):
    def __init__(self, authorities: bytes, diary: Diary) -> None:
        super().__init__(authorities)
        self._diary = diary

    async def ask(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        answer = await super().ask(method, url, body, headers)
        if method == "PUT" and body is not None and answer.status == 200:
            self._diary.note(body, answer.body)
        return answer
