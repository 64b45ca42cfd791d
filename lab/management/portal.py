"""`manage.py lab abm`: the portal's orders as words of a command line. What each does is in
`lab.dep.orders`."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from lab.dep.catalog import Family
from lab.dep.faults import FaultKind
from lab.errors import PortalRefused


def add_parsers(acts: Any) -> tuple[ArgumentParser, ...]:
    """The parsers of every order, below `abm`."""
    whats = acts.add_parser(
        "abm", help="Apple Business Manager's portal: servers, devices, tokens, faults"
    ).add_subparsers(dest="what", required=True, metavar="WHAT")
    status = whats.add_parser("status", help="servers, devices, what the service answered")
    status.add_argument("--search", default="", help="part of a serial number")
    server = whats.add_parser("server", help="add an MDM server")
    server.add_argument("name")
    server.add_argument("--certificate", type=Path, help="PEM to encrypt its tokens for")
    server.add_argument("--maximum", type=int, help="devices a page may have")
    certificate = whats.add_parser("certificate", help="upload a server's certificate")
    certificate.add_argument("name")
    certificate.add_argument("file", type=Path)
    token = whats.add_parser("token", help="download a server token; the one before it is over")
    token.add_argument("name")
    token.add_argument("--into", type=Path, required=True, metavar="FILE")
    default = whats.add_parser("default", help="assign bought devices of a family by themselves")
    default.add_argument("family", choices=[str(family) for family in Family])
    default.add_argument("name", nargs="?", default="", help="none: no longer")
    buy = whats.add_parser("buy", help="devices come from the reseller")
    buy.add_argument("count", type=int)
    buy.add_argument("--to", dest="name", default="", help="and are assigned to this server")
    buy.add_argument("--family", choices=[str(family) for family in Family])
    own = whats.add_parser("own", help="the lab's own devices come in, assigned to this server")
    own.add_argument("name")
    file = whats.add_parser("csv", help="assign the serial numbers in a CSV file")
    file.add_argument("name")
    file.add_argument("file", type=Path)
    assign = whats.add_parser("assign", help="assign or move devices")
    assign.add_argument("name")
    unassign = whats.add_parser("unassign", help="devices have no server any more")
    release = whats.add_parser("release", help="devices leave the organization")
    change = whats.add_parser("change", help="something about devices changes")
    change.add_argument("field", help="such as asset_tag")
    change.add_argument("value")
    for act in (assign, unassign, release, change):
        act.add_argument("serials", nargs="+", metavar="SERIAL")
    fault = whats.add_parser("fault", help="spoil what the enrollment service answers")
    fault.add_argument("fault", help=", ".join((*FaultKind, "clear")))
    fault.add_argument("--count", type=int, default=1, help="how many requests; 0 for all")
    fault.add_argument("--endpoint", help="only requests for this path")
    fault.add_argument("--name", help="only of this server")
    fault.add_argument("--serials", nargs="+", metavar="SERIAL")
    fault.add_argument("--seconds", type=float, help="of `slow`, and of Retry-After")
    return tuple(whats.choices.values())


def order_of(options: dict[str, Any]) -> dict[str, Any]:
    """The order that was said, as `lab.dep.orders` takes it. Raises PortalRefused."""
    what = options["what"]
    order = {key: options.get(key) for key in _KEYS.get(what, ()) if key in options}
    order["act"] = what
    if what == "csv":
        order["text"] = _text(options["file"])
    elif what == "certificate":
        order["certificate"] = _text(options["file"])
    elif what == "server" and options["certificate"]:
        order["certificate"] = _text(options["certificate"])
    elif what == "change":
        order["values"] = {options["field"]: options["value"]}
    elif what == "fault":
        order["count"] = options["count"] or None
    return order


def told(what: str, answer: dict[str, Any]) -> list[str]:
    """What an answer is in lines for a person."""
    if what != "status":
        return [", ".join(f"{key}: {_short(value)}" for key, value in answer.items())]
    lines = [
        f"{row['serial']:<12}{row['model']:<20}{row['server'] or 'unassigned'}"
        for row in answer["devices"]
    ]
    for server in answer["servers"]:
        lines.append(f"{server['name']}: {server['devices']:,} devices, UUID {server['uuid']}")
    lines.append(f"{answer['count']:,} devices, {answer['unassigned']:,} without a server")
    answers = ", ".join(f"{count} × {what}" for what, count in answer["answers"].items())
    lines.append(f"Answered: {answers or 'nothing yet'}")
    for fault in answer["faults"]:
        left = "every request" if fault["count"] is None else f"{fault['count']} more"
        lines.append(f"Fault: {fault['kind']}, {left}")
    return lines


_KEYS = {
    "status": ("search",),
    "server": ("name", "maximum"),
    "certificate": ("name",),
    "token": ("name",),
    "default": ("family", "name"),
    "buy": ("count", "name", "family"),
    "own": ("name",),
    "csv": ("name",),
    "assign": ("name", "serials"),
    "unassign": ("serials",),
    "release": ("serials",),
    "change": ("serials",),
    "fault": ("fault", "endpoint", "name", "serials", "seconds"),
}


def _short(value: object) -> str:
    if isinstance(value, list):
        some = " ".join(map(str, value[:10]))
        return f"{len(value):,} ({some}{' …' if len(value) > 10 else ''})" if value else "none"
    return str(value)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise PortalRefused(f"{path.name} cannot be read as text.") from error
