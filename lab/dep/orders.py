"""What somebody outside has the portal do: the words of `manage.py lab abm` and of the lab's page,
as JSON. They come in through `lab.control`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lab.dep.catalog import Family, of_lab
from lab.dep.faults import Fault, FaultKind
from lab.dep.listener import DepStandIn
from lab.dep.portal import MdmServer, Portal
from lab.devices.hardware import Hardware
from lab.errors import LabError, PortalRefused

Order = Mapping[str, Any]
_MOST_SHOWN = 500
_CHANGE_NOTHING = frozenset({"status", "fault"})


class Orders:
    """`carry_out` takes an order whose `act` is one of `acts`. `machines` are those that the lab
    plays itself; `keep` is called when the portal was changed."""

    def __init__(
        self,
        stand_in: DepStandIn,
        machines: Callable[[], Iterable[Hardware]],
        keep: Callable[[], None],
    ) -> None:
        self._stand_in = stand_in
        self._machines = machines
        self._keep = keep
        self.acts: dict[str, Callable[[Order], dict[str, Any]]] = {
            "status": self._status,
            "server": self._add_server,
            "certificate": self._certificate,
            "token": self._token,
            "default": self._default,
            "buy": self._buy,
            "own": self._own,
            "assign": self._assign,
            "csv": self._csv,
            "unassign": self._unassign,
            "release": self._release,
            "change": self._change,
            "fault": self._fault,
        }

    @property
    def _portal(self) -> Portal:
        return self._stand_in.portal

    def carry_out(self, order: Order) -> dict[str, Any]:
        """Raises LabError, and KeyError for what an order lacks."""
        act = self.acts.get(order["act"])
        if act is None:
            raise LabError(f"The portal knows only {', '.join(self.acts)}.")
        answer = act(order)
        if order["act"] not in _CHANGE_NOTHING:
            self._keep()
        return answer

    def _status(self, order: Order) -> dict[str, Any]:
        portal = self._portal
        found = [
            _row(portal, serial)
            for serial in portal.devices
            if str(order.get("search") or "").upper() in serial
        ]
        return {
            "servers": [_server(server) for server in portal.servers.values()],
            "defaults": portal.defaults,
            "devices": found[-_MOST_SHOWN:],
            "count": len(portal.devices),
            "unassigned": sum(portal.owner(serial) is None for serial in portal.devices),
            "answers": dict(self._stand_in.service.counts),
            "faults": [fault.json() for fault in self._stand_in.faults],
        }

    def _add_server(self, order: Order) -> dict[str, Any]:
        certificate = str(order.get("certificate") or "").encode()
        server = self._portal.add_server(str(order["name"]), certificate)
        if order.get("maximum"):
            server.maximum = int(order["maximum"])
        return _server(server)

    def _certificate(self, order: Order) -> dict[str, Any]:
        self._portal.upload_certificate(order["name"], str(order["certificate"]).encode())
        return _server(self._portal.server(order["name"]))

    def _token(self, order: Order) -> dict[str, Any]:
        return {"p7m": self._portal.download_token(order["name"]).decode("ascii")}

    def _default(self, order: Order) -> dict[str, Any]:
        self._portal.set_default(order["family"], str(order.get("name") or ""))
        return {"defaults": self._portal.defaults}

    def _buy(self, order: Order) -> dict[str, Any]:
        family = order.get("family")
        if family and family not in list(Family):
            raise PortalRefused(f"Families are {', '.join(Family)}.")
        name = str(order.get("name") or "")
        if name:
            self._portal.server(name)
        serials = self._portal.buy(int(order["count"]), Family(family) if family else None)
        if name:
            self._portal.assign(serials, name)
        return {"bought": serials}

    def _own(self, order: Order) -> dict[str, Any]:
        """The devices that the lab plays come into the organization, assigned to a server."""
        portal = self._portal
        own = [machine for machine in self._machines() if machine.serial not in portal.devices]
        for machine in own:
            portal.enter(of_lab(machine, 0))
        serials = [machine.serial for machine in own]
        return {"assigned": portal.assign(serials, order["name"])}

    def _assign(self, order: Order) -> dict[str, Any]:
        return {"assigned": self._portal.assign(_serials(order), order["name"])}

    def _csv(self, order: Order) -> dict[str, Any]:
        return dict(self._portal.assign_csv(str(order["text"]), order["name"]))

    def _unassign(self, order: Order) -> dict[str, Any]:
        return {"unassigned": self._portal.unassign(_serials(order))}

    def _release(self, order: Order) -> dict[str, Any]:
        return {"released": self._portal.release(_serials(order))}

    def _change(self, order: Order) -> dict[str, Any]:
        for serial in _serials(order):
            self._portal.change(serial, **order["values"])
        return {"changed": _serials(order)}

    def _fault(self, order: Order) -> dict[str, Any]:
        if order["fault"] == "clear":
            self._stand_in.faults.clear()
            return {"cleared": True}
        serials = order.get("serials")
        seconds = order.get("seconds")
        fault = Fault(
            FaultKind.named(order["fault"]),
            order.get("count", 1),
            endpoint=order.get("endpoint") or None,
            server=order.get("name") or None,
            serials=frozenset(serials) if serials else None,
            seconds=float(seconds) if seconds is not None else None,
        )
        self._stand_in.faults.order(fault)
        return {"ordered": fault.json()}


def _serials(order: Order) -> list[str]:
    serials = order["serials"]
    if not isinstance(serials, list) or not serials:
        raise PortalRefused("Say which devices, by serial number.")
    return [str(serial) for serial in serials]


def _server(server: MdmServer) -> dict[str, Any]:
    return {
        "name": server.name,
        "uuid": server.uuid,
        "devices": len(server.assigned),
        "maximum": server.maximum,
        "certificate": bool(server.certificate),
        "token": server.token is not None,
    }


def _row(portal: Portal, serial: str) -> dict[str, Any]:
    record, owner = portal.devices[serial], portal.owner(serial)
    return {
        "serial": serial,
        "model": record.model,
        "family": record.device_family,
        "color": record.color,
        "asset_tag": record.asset_tag,
        "server": owner.name if owner else "",
        "assigned": record.device_assigned_date or "",
    }
