"""Apple Business Manager's portal: the organization's devices, its MDM servers, and which device is
assigned to which. What a server is told of it is `lab.dep.service`.

Every assignment is an operation in the log of the server that gains or loses the device.
"""

from __future__ import annotations

import csv
import io
import secrets
import uuid
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lab.dep import tokens
from lab.dep.catalog import Family, bought
from lab.dep.clock import Clock, stamp
from lab.dep.cursors import Cursors
from lab.dep.records import Record
from lab.dep.tokens import Token
from lab.errors import PortalRefused, UnknownDevice

ADMIN = "portal.admin@example.com"
ORGANIZATION = "GuardMDM Lab"
MOST_DEVICES = 200_000
PAGE_MAXIMUM = 1_000


@dataclass(frozen=True, slots=True)
class Operation:
    """A line of a server's log: `record` is the device as it was then."""

    op_type: str
    op_date: str
    record: Record


@dataclass(slots=True, eq=False)
class MdmServer:
    """What the portal calls an MDM server, newer: a device management service. `order` has the
    number and the serial number of each assignment, `assigned` the number that holds now.
    `session` is the token of its one session and when it was last used, in Unix seconds."""

    name: str
    uuid: str
    certificate: bytes = b""
    token: Token | None = None
    maximum: int = PAGE_MAXIMUM
    log: list[Operation] = field(default_factory=list)
    order: list[tuple[int, str]] = field(default_factory=list)
    assigned: dict[str, int] = field(default_factory=dict)
    session: str = ""
    session_used: float = 0.0
    discovery_url: str = ""

    def after(self, number: int, before: int) -> Iterator[tuple[int, str]]:
        """The assignments that hold, from the one after `number` on, older than `before`."""
        for place in range(bisect_left(self.order, (number + 1, "")), len(self.order)):
            entry = self.order[place]
            if entry[0] >= before:
                return
            if self.assigned.get(entry[1]) == entry[0]:
                yield entry


class Portal:
    """One organization. The same `seed` buys the same devices."""

    def __init__(self, clock: Clock | None = None, seed: int = 0) -> None:
        self.clock = clock or Clock()
        self.servers: dict[str, MdmServer] = {}
        self.devices: dict[str, Record] = {}
        self.profiles: dict[str, dict[str, Any]] = {}
        self.defaults: dict[str, str] = {}
        self.organization = str(uuid.uuid4()).upper()
        self._owner: dict[str, MdmServer] = {}
        self._seed = seed
        self._key = secrets.token_bytes(16)
        self._bought = 0
        self.assignments = 0
        self.cursors = Cursors(self._key)

    # --- Servers ---------------------------------------------------------------------------------

    def add_server(self, name: str, certificate: bytes = b"") -> MdmServer:
        """Raises PortalRefused."""
        name = name.strip()
        if not name or name in self.servers:
            raise PortalRefused("An MDM server needs a name that no other has.")
        server = MdmServer(name, str(uuid.uuid4()).upper())
        if certificate:
            tokens.public_key_of(certificate)
            server.certificate = certificate
        self.servers[name] = server
        return server

    def upload_certificate(self, name: str, certificate: bytes) -> None:
        """The public key that tokens of this server are made for. Raises PortalRefused."""
        tokens.public_key_of(certificate)
        self.server(name).certificate = certificate

    def download_token(self, name: str) -> bytes:
        """A new server token; the one before it is over at once. Raises PortalRefused."""
        server = self.server(name)
        if not server.certificate:
            raise PortalRefused(f"Upload a certificate for {name} first.")
        server.token = tokens.issue(self.clock.now(), server.token)
        server.session = ""
        return tokens.sealed(server.token, server.certificate)

    def set_default(self, family: str, name: str) -> None:
        """Devices of this family that are bought from now on are assigned by themselves; an empty
        name ends it. Raises PortalRefused."""
        if family not in list(Family):
            raise PortalRefused(f"Families are {', '.join(Family)}.")
        if name:
            self.defaults[family] = self.server(name).name
        else:
            self.defaults.pop(family, None)

    def server(self, name: str) -> MdmServer:
        """Raises PortalRefused."""
        try:
            return self.servers[name]
        except KeyError:
            there = ", ".join(self.servers) or "none yet"
            raise PortalRefused(f"No MDM server is called {name!r}; there are: {there}.") from None

    # --- Devices ---------------------------------------------------------------------------------

    def buy(self, count: int, family: Family | None = None) -> list[str]:
        """`count` more devices from the reseller; returns their serial numbers."""
        if not 0 < count <= MOST_DEVICES - len(self.devices):
            raise PortalRefused(f"The lab's organization has up to {MOST_DEVICES:,} devices.")
        found: list[str] = []
        while len(found) < count:
            self._bought += 1
            record = bought(self._bought, self._seed, family)
            if record.serial_number not in self.devices:
                found.append(record.serial_number)
                self.enter(record)
        return found

    def enter(self, record: Record) -> None:
        """A device comes into the organization: unassigned, or to its family's default server."""
        self.devices[record.serial_number] = record
        default = self.defaults.get(record.device_family)
        if default is not None:
            self._give(record.serial_number, self.server(default), "Automatic assignment")

    def assign(self, serials: Iterable[str], name: str, by: str = ADMIN) -> list[str]:
        """Assign or move devices; returns those that came. Raises PortalRefused, UnknownDevice;
        then nothing was done."""
        server = self.server(name)
        wanted = self._known(serials)
        coming = [serial for serial in wanted if self._owner.get(serial) is not server]
        for serial in coming:
            self._take(serial)
            self._give(serial, server, by)
        return coming

    def assign_csv(self, text: str, name: str, by: str = ADMIN) -> dict[str, list[str]]:
        """As an uploaded file does it: one serial number a row; the portal takes those that it
        knows, and reports the others. Raises PortalRefused."""
        lines = csv.reader(io.StringIO(text.removeprefix("\ufeff")))
        rows = [row[0].strip().upper() for row in lines if row]
        named = [serial for serial in dict.fromkeys(rows) if serial and serial != "SERIAL NUMBER"]
        known = [serial for serial in named if serial in self.devices]
        unknown = [serial for serial in named if serial not in self.devices]
        return {"assigned": self.assign(known, name, by), "unknown": unknown}

    def unassign(self, serials: Iterable[str]) -> list[str]:
        """Devices stay in the organization, without a server; returns those that had one."""
        going = [serial for serial in self._known(serials) if serial in self._owner]
        for serial in going:
            self._take(serial)
        return going

    def release(self, serials: Iterable[str]) -> list[str]:
        """Devices leave the organization for good."""
        wanted = self._known(serials)
        for serial in wanted:
            self._take(serial)
            del self.devices[serial]
        return wanted

    def change(self, serial: str, **values: Any) -> None:
        """Something about a device changes. Raises UnknownDevice, LabError."""
        [known] = self._known([serial])
        self.devices[known] = self.devices[known].changed(**values)
        owner = self._owner.get(known)
        if owner is not None:
            self._log(owner, "modified", known)

    def activate(self, serial: str) -> dict[str, Any] | None:
        """What Apple tells a device that is switched on for the first time, or after an erase:
        the ADE profile that it was assigned, None where there is none. Apple then says "pushed".
        """
        record = self.devices.get(serial)
        if record is None or record.profile_status not in ("assigned", "pushed"):
            return None
        known = self.profiles.get(record.profile_uuid or "")
        if known is None:
            return None
        self.change(serial, profile_status="pushed", profile_push_time=stamp(self.clock.now()))
        return {**known["profile"], "profile_uuid": record.profile_uuid}

    def owner(self, serial: str) -> MdmServer | None:
        return self._owner.get(serial)

    # --- What lasts ------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """All of it, as JSON."""
        return {
            "organization": self.organization,
            "key": self._key.hex(),
            "bought": self._bought,
            "assignments": self.assignments,
            "defaults": self.defaults,
            "profiles": self.profiles,
            "devices": [record.dictionary() for record in self.devices.values()],
            "servers": [_saved(server) for server in self.servers.values()],
        }

    @classmethod
    def restored(
        cls, saved: Mapping[str, Any], clock: Clock | None = None, seed: int = 0
    ) -> Portal:
        """From what `snapshot` gave. Sessions are over."""
        portal = cls(clock, seed)
        portal.organization = saved["organization"]
        portal._key = bytes.fromhex(saved["key"])
        portal.cursors = Cursors(portal._key, saved["assignments"] + secrets.randbelow(10**9))
        portal._bought, portal.assignments = saved["bought"], saved["assignments"]
        portal.defaults, portal.profiles = dict(saved["defaults"]), dict(saved["profiles"])
        portal.devices = {each["serial_number"]: Record.restored(each) for each in saved["devices"]}
        for each in saved["servers"]:
            server = _loaded(each)
            portal.servers[server.name] = server
            portal._owner |= dict.fromkeys(server.assigned, server)
        return portal

    # --- Inside ----------------------------------------------------------------------------------

    def _known(self, serials: Iterable[str]) -> list[str]:
        wanted = [serial.strip().upper() for serial in serials]
        for serial in wanted:
            if serial not in self.devices:
                raise UnknownDevice(f"The organization has no device {serial}.")
        return list(dict.fromkeys(wanted))

    def _give(self, serial: str, server: MdmServer, by: str) -> None:
        self.assignments += 1
        self.devices[serial] = self.devices[serial].changed(
            device_assigned_by=by,
            device_assigned_date=stamp(self.clock.now()),
            profile_status="empty",
            profile_uuid=None,
            profile_assign_time=None,
            profile_push_time=None,
        )
        self._owner[serial] = server
        server.assigned[serial] = self.assignments
        server.order.append((self.assignments, serial))
        self._log(server, "added", serial)

    def _take(self, serial: str) -> None:
        server = self._owner.pop(serial, None)
        if server is not None:
            del server.assigned[serial]
            self._log(server, "deleted", serial)

    def _log(self, server: MdmServer, op_type: str, serial: str) -> None:
        date = stamp(self.clock.now())
        server.log.append(Operation(op_type, date, self.devices[serial]))


def _saved(server: MdmServer) -> dict[str, Any]:
    return {
        "name": server.name,
        "uuid": server.uuid,
        "certificate": server.certificate.decode("ascii"),
        "token": server.token.json() if server.token else None,
        "maximum": server.maximum,
        "log": [[each.op_type, each.op_date, each.record.dictionary()] for each in server.log],
        "order": server.order,
        "assigned": server.assigned,
        "discovery_url": server.discovery_url,
    }


def _loaded(saved: Mapping[str, Any]) -> MdmServer:
    return MdmServer(
        name=saved["name"],
        uuid=saved["uuid"],
        certificate=saved["certificate"].encode(),
        token=Token(**saved["token"]) if saved["token"] else None,
        maximum=saved["maximum"],
        log=[Operation(kind, date, Record.restored(each)) for kind, date, each in saved["log"]],
        order=[(number, serial) for number, serial in saved["order"]],
        assigned=dict(saved["assigned"]),
        discovery_url=saved["discovery_url"],
    )
