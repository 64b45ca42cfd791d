"""A whole server with the lab beside it: what the stories are played in."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from lab.devices.hardware import Model
from lab.place import Place
from mdm.local import postgres, sockets
from mdm.local.ports import Ports
from mdm.local.server import LocalServer
from mdm.local.state import claim
from tests import environ
from tests.e2e.laboratory import Laboratory
from tests.e2e.person import Person
from tests.e2e.waiting import until


@dataclass
class World:
    """`authorities` is the PEM that devices trust for TLS, as if a person had installed it."""

    server: LocalServer
    lab: Laboratory
    admin: Person
    authorities: str

    @property
    def logs(self) -> Path:
        return self.server.state_dir / "log"

    def link(self, uses: int) -> str:
        """The address of a new enrollment link, made from the command line."""
        made = self.server.manage("guard", "link", "--uses", str(uses), "--json")
        return str(json.loads(made)["url"])

    def add(self, link: str, count: int = 1, kind: Model | None = None) -> list[str]:
        """Serial numbers of new devices, which are enrolled through `link` when this returns."""
        more = {"link": link, "authorities": self.authorities, "kind": kind}
        serials = self.lab.order("add", count=count, **more)["added"]
        for serial in serials:
            self.wait_for(serial, "enrolled", within=180)
        return list(serials)

    def wait_for(self, serial: str, state: str, *, within: float = 60) -> None:
        """Return when the device itself is in `state`."""
        until(
            lambda: self.lab.device(serial)["state"] in (state, "failed"),
            within=within,
            seen=lambda: self.lab.device(serial),
        )
        now = self.lab.device(serial)
        assert now["state"] == state, now

    def rows(self, statement: str, **parameters: object) -> list[dict[str, Any]]:
        """Read from the server's database, over a connection that lives no longer."""
        where = postgres.url(self.server.state_dir)
        with psycopg.connect(where, row_factory=dict_row, autocommit=True) as connection:
            return connection.execute(statement, parameters).fetchall()

    def value(self, statement: str, **parameters: object) -> Any:
        """The one column of the one row that a statement gives."""
        (row,) = self.rows(statement, **parameters)
        (value,) = row.values()
        return value

    def stop(self) -> None:
        self.admin.close()
        self.lab.stop()
        self.server.stop()


def start(state_dir: Path) -> World:
    """The real processes on free ports, an admin, a push certificate, and no devices yet."""
    claim(state_dir)
    sockets.make_folder(state_dir)
    lab = Laboratory(Place.under(state_dir))
    server = LocalServer(state_dir, Ports.free(), environ=_environment(lab))
    try:
        server.start()
        scene = json.loads(server.manage("lab", "prepare", "--json"))
        admin = Person(server.people_url, scene["username"], scene["password"])
    except BaseException:
        lab.stop()
        server.stop()
        raise
    return World(server, lab, admin, scene["authorities"])


def _environment(lab: Laboratory) -> dict[str, str]:
    return environ.fresh(
        GUARD_ENV="demo",
        GUARD_EXTRA_APPS="lab",
        GUARD_APNS_URL=lab.apns_url,
        GUARD_APNS_CA=str(lab.apns_ca),
    )
