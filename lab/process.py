"""The lab as one process: stand-ins for Apple, devices, control socket, on one event loop. What
starts it is `manage.py lab run`."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from lab.apns import ApnsStandIn, Postbox
from lab.authority import Authority, ensure_authority, write_private
from lab.control import ControlServer
from lab.dep import DepStandIn, Portal
from lab.dep.orders import Orders
from lab.devices import Surroundings
from lab.devices.activation import Factory
from lab.devices.channel import Pace
from lab.devices.identity import Presentation
from lab.fleet import Fleet
from lab.http import Webs
from lab.keys import KeyShelf
from lab.place import Place


@dataclass
class Lab:
    """A running lab. `apns_url` and `dep_url` are what the server's GUARD_APNS_URL and
    GUARD_DEP_URL must say."""

    authority: Authority
    apns: ApnsStandIn
    fleet: Fleet
    dep: DepStandIn
    port: int = 0
    dep_port: int = 0
    surroundings: Surroundings = field(repr=False, kw_only=True)

    @property
    def apns_url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def dep_url(self) -> str:
        return f"http://127.0.0.1:{self.dep_port}"


@asynccontextmanager
async def running_lab(
    place: Place,
    *,
    port: int = 0,
    dep_port: int = 0,
    seed: int = 0,
    scene: Mapping[str, str] | None = None,
    pace: Pace | None = None,
    presentation: Presentation = Presentation.AS_PROFILE,
) -> AsyncIterator[Lab]:
    """A lab for the length of a `with`; on leaving, everything that lasts has been saved. Raises
    OSError when the port is taken."""
    authority = ensure_authority(place.authority)
    postbox, webs, keys = Postbox(), Webs(), KeyShelf(place.keys)
    if place.tokens.exists():
        postbox.restore(json.loads(place.tokens.read_bytes()))
    factory = Factory(
        keys.take, authority.issue_device_certificate, authority.issue_foreign_certificate
    )
    surroundings = Surroundings(
        postbox, webs, keys.take, pace or Pace(), factory, presentation=presentation
    )
    apns = ApnsStandIn(authority, postbox)
    dep = DepStandIn(_portal(place, seed))
    fleet = Fleet(surroundings, place.devices, seed, dep.portal.activate)

    def keep() -> None:
        write_private(place.portal, json.dumps(dep.portal.snapshot()).encode())

    orders = Orders(dep, lambda: (device.hardware for device in fleet), keep)
    control = ControlServer(place.socket, fleet, apns, orders, scene)
    lab = Lab(authority, apns, fleet, dep, surroundings=surroundings)
    try:
        lab.port = await apns.start(port)
        lab.dep_port = await dep.start(dep_port)
        fleet.resume()
        if scene is not None:
            fleet.link, fleet.authorities = scene["link"], scene["authorities"].encode()
        await control.start()
        yield lab
    finally:
        await control.stop()
        fleet.stop()
        write_private(place.tokens, json.dumps(postbox.snapshot()).encode())
        keep()
        await apns.stop()
        await dep.stop()
        await webs.close()
        keys.close()


def _portal(place: Place, seed: int) -> Portal:
    if not place.portal.exists():
        return Portal(seed=seed)
    return Portal.restored(json.loads(place.portal.read_bytes()), seed=seed)


async def run(
    place: Place,
    *,
    port: int = 0,
    dep_port: int = 0,
    seed: int = 0,
    scene: Mapping[str, str] | None = None,
    devices: int = 0,
    ready: Callable[[Lab], None],
) -> None:
    """Run a lab until SIGTERM or SIGINT. With a `scene` (as `lab.scene` makes it) devices are
    added through its link until there are as many as `devices`."""
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    async with running_lab(place, port=port, dep_port=dep_port, seed=seed, scene=scene) as lab:
        if scene is not None and len(lab.fleet) < devices:
            lab.fleet.add(devices - len(lab.fleet), scene["link"], scene["authorities"].encode())
        if scene is not None:
            lab.fleet.box()
        ready(lab)
        await over.wait()
