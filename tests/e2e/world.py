"""A whole server with the lab beside it: what the stories are played in."""

from __future__ import annotations

import json
from collections.abc import Sequence
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

_USES = 1000


@dataclass
class World:
    """`link` is where devices enroll. They trust `authorities` (PEM) for TLS, as if a person had
    installed it.
    """

    server: LocalServer
    lab: Laboratory
    admin: Person
    link: str
    authorities: str
    username: str
    password: str

    @property
    def logs(self) -> Path:
        return self.server.state_dir / "log"

    def add(self, kind: Model | None = None, count: int = 1) -> list[str]:
        """Serial numbers of new devices, which are enrolled when this returns."""
        more = {"link": self.link, "authorities": self.authorities, "kind": kind}
        serials = list(self.lab.order("add", count=count, **more)["added"])
        self._settle(serials, "enrolled", within=300)
        return serials

    def wait_for(self, serial: str, state: str) -> None:
        """Return when the device itself is in `state`."""
        self._settle([serial], state, within=60)

    def rows(self, statement: str, **parameters: object) -> list[dict[str, Any]]:
        """Read from the server's database, over a connection that lives no longer."""
        where = postgres.url(self.server.state_dir)
        with psycopg.connect(where, row_factory=dict_row, autocommit=True) as connection:
            return connection.execute(statement, parameters).fetchall()

    def execute(self, statement: str, **parameters: object) -> None:
        """Change the server's database behind its back: how a test moves a date."""
        with psycopg.connect(postgres.url(self.server.state_dir), autocommit=True) as connection:
            connection.execute(statement, parameters)

    def value(self, statement: str, **parameters: object) -> Any:
        """The one column of the one row that a statement gives."""
        (row,) = self.rows(statement, **parameters)
        (value,) = row.values()
        return value

    def stop(self) -> None:
        self.admin.close()
        self.lab.stop()
        self.server.stop()

    def _settle(self, serials: Sequence[str], state: str, *, within: float) -> None:
        """Wait until these devices are in `state`, or have failed for good."""

        def others() -> list[dict[str, Any]]:
            rows = self.lab.order("status")["devices"]
            return [row for row in rows if row["serial"] in serials and row["state"] != state]

        until(
            lambda: all(row["state"] == "failed" for row in others()),
            within=within,
            seen=lambda: others()[:3],
        )
        assert others() == []


def start(state_dir: Path) -> World:
    """The real processes on free ports, an admin, a push certificate, and no devices yet."""
    claim(state_dir)
    sockets.make_folder(state_dir)
    lab = Laboratory(Place.under(state_dir))
    server = LocalServer(state_dir, Ports.free(), environ=_environment(lab))
    try:
        server.start()
        scene = json.loads(server.manage("lab", "prepare", "--json"))
        link = json.loads(server.manage("guard", "link", "--uses", str(_USES), "--json"))
        admin = Person(server.people_url, scene["username"], scene["password"])
    except BaseException:
        lab.stop()
        server.stop()
        raise
    return World(
        server, lab, admin, link["url"], scene["authorities"], scene["username"], scene["password"]
    )


def _environment(lab: Laboratory) -> dict[str, str]:
    return environ.fresh(
        GUARD_ENV="demo",
        GUARD_EXTRA_APPS="lab",
        GUARD_APNS_URL=lab.apns_url,
        GUARD_APNS_CA=str(lab.apns_ca),
        GUARD_DEVICE_CA=str(lab.apns_ca),
        GUARD_DEP_URL=lab.dep_url,
    )
