"""The lab's Apple for a test: its portal, its service on a real port, and faults to order."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from abm import servers, tokens
from abm.models import Server
from lab.dep import Clock, DepStandIn, Portal
from lab.dep.faults import Fault, FaultKind
from lab.dep.portal import MdmServer
from lab.dep.records import render
from lab.dep.tokens import issue
from mdm.audit.actor import Actor
from tests.abm.connected import connect
from tests.abm.patience import PATIENT

ADMIN = Actor.system("tests")


class Apple:
    """`url` is what the product's dep_url says."""

    def __init__(self, stand_in: DepStandIn, url: str) -> None:
        self.stand_in, self.url = stand_in, url
        self.portal, self.clock = stand_in.portal, stand_in.portal.clock

    def order(self, kind: FaultKind, **more: Any) -> None:
        self.stand_in.faults.order(Fault(kind, **more))

    @property
    def answered(self) -> dict[str, int]:
        """How often each answer was given, such as "200 /devices/sync"."""
        return dict(self.stand_in.service.counts)

    def listed(self, name: str) -> set[str]:
        """The serial numbers that are assigned to this MDM server."""
        return set(self.portal.server(name).assigned)

    def truth(self, name: str) -> dict[str, dict[str, Any]]:
        """What Apple would say of each device of this MDM server."""
        return {
            serial: json.loads(render(self.portal.devices[serial].dictionary()))
            for serial in self.listed(name)
        }

    def connect(self, name: str = "Office") -> tuple[Server, MdmServer]:
        """One of our servers and its server in the portal, by the whole exchange of the token."""
        server = servers.create(ADMIN, name)
        certificate = servers.current_key_pair(server).certificate.encode()
        remote = self.portal.add_server(name, certificate)
        self.renew(server, remote)
        return server, remote

    def link(self, name: str, **more: Any) -> tuple[Server, MdmServer]:
        """The same without the exchange, which takes its time."""
        remote = self.portal.add_server(name)
        remote.token = issue(self.clock.now())
        words = {key: str(word) for key, word in remote.token.json().items() if key != "expires"}
        server = connect(name, words, **more)
        return server, remote

    def renew(self, server: Server, remote: MdmServer) -> None:
        """Download another token and upload it here."""
        upload = tokens.upload(ADMIN, server, self.portal.download_token(remote.name))
        checked = tokens.check(upload.pk, PATIENT)
        assert checked is not None
        assert checked.state == checked.State.ACCEPTED, checked.sentence
        server.refresh_from_db()


@contextmanager
def apple(clock: Clock | None = None) -> Iterator[Apple]:
    """Apple for the length of a `with`, on a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    stand_in = DepStandIn(Portal(clock))
    try:
        port = asyncio.run_coroutine_threadsafe(stand_in.start(), loop).result(10)
        yield Apple(stand_in, f"http://127.0.0.1:{port}")
    finally:
        asyncio.run_coroutine_threadsafe(stand_in.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
