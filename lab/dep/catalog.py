"""Devices as they are bought: drawn from a seed, so that the same number is the same machine in
every portal. The machines that the lab plays itself are in `lab.devices.hardware`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from lab.dep.records import Record
from lab.devices.hardware import Hardware, Model

T = TypeVar("T")

_SERIAL_LETTERS = "CDFGHJKLMNPQRTVWXY0123456789"


class Family(StrEnum):
    """Apple's words for device_family."""

    IPHONE = "iPhone"
    IPAD = "iPad"
    MAC = "Mac"
    APPLE_TV = "AppleTV"
    VISION = "Vision"


@dataclass(frozen=True, slots=True)
class _Product:
    model: str
    description: str
    colors: tuple[str, ...]
    cellular: bool = False


_SYSTEMS = {
    Family.IPHONE: "iOS",
    Family.IPAD: "iPadOS",
    Family.MAC: "OSX",
    Family.APPLE_TV: "tvOS",
    Family.VISION: "visionOS",
}
_DARK, _LIGHT = "SPACE GRAY", "SILVER"
_PRODUCTS = {
    Family.IPHONE: (
        _Product("IPHONE 15", "IPHONE 15 128GB {}-USA", ("BLACK", "BLUE", "PINK"), True),
        _Product("IPHONE 16", "IPHONE 16 128GB {}-USA", ("BLACK", "TEAL", "WHITE"), True),
        _Product("IPHONE 16 PRO", "IP 16 PRO 256GB {}-USA", ("NATURAL TITANIUM", "BLACK"), True),
        _Product("IPHONE 17", "IPHONE 17 256GB {}-USA", ("SAGE", "LAVENDER", "BLACK"), True),
    ),
    Family.IPAD: (
        _Product("IPAD 10TH GEN", "IPAD 10TH GEN WI-FI 64GB {}-USA", (_LIGHT, "BLUE")),
        _Product("IPAD AIR 11 M2", "IPAD AIR 11 WI-FI 128GB {}-USA", (_DARK, "STARLIGHT")),
        _Product("IPAD PRO 11 M4", "IPAD PRO 11 CELL 256GB {}-USA", ("SPACE BLACK", _LIGHT), True),
    ),
    Family.MAC: (
        _Product("MacBook Air", "MBA 13.6 {}/M3/16GB/256GB-USA", (_DARK, "MIDNIGHT", _LIGHT)),
        _Product("MacBook Pro", "MBP 14.2 {}/M4/16GB/512GB-USA", ("SPACE BLACK", _LIGHT)),
        _Product("Mac mini", "MAC MINI {}/M4/16GB/256GB-USA", (_LIGHT,)),
        _Product("iMac", "IMAC 24 {}/M4/16GB/256GB-USA", ("BLUE", "GREEN", _LIGHT)),
    ),
    Family.APPLE_TV: (_Product("APPLE TV 4K", "APPLE TV 4K 128GB ETHERNET-USA", ("BLACK",)),),
    Family.VISION: (_Product("APPLE VISION PRO", "VISION PRO 256GB-USA", (_LIGHT,)),),
}
# An office's mix: for every twelve phones five tablets and eight computers, a screen now and then.
_MIX = tuple(
    {
        "p": Family.IPHONE,
        "t": Family.IPAD,
        "m": Family.MAC,
        "a": Family.APPLE_TV,
        "v": Family.VISION,
    }[letter]
    for letter in "pmptpmpmtpmpmptapmpmtpmptpvm"
)
_KINDS = {
    Model.IPHONE: Family.IPHONE,
    Model.IPAD: Family.IPAD,
    Model.MAC: Family.MAC,
    Model.APPLE_TV: Family.APPLE_TV,
    Model.VISION: Family.VISION,
}


def bought(number: int, seed: int, family: Family | None = None, serial: str = "") -> Record:
    """Device `number` of the portal with this seed: of the mix unless one `family` is asked for,
    with a serial number of its own unless one is given."""
    family = family or _MIX[number % len(_MIX)]
    draw = _Draw(f"{seed}/{family}/{serial or number}")
    product = draw.one_of(_PRODUCTS[family])
    color = draw.one_of(product.colors)
    # Ten letters have room for far more devices than were ever drawn; the portal checks anyway.
    return Record(
        serial_number=serial or "".join(draw.one_of(_SERIAL_LETTERS) for _ in range(10)),
        device_family=str(family),
        os=_SYSTEMS[family],
        model=product.model,
        description=product.description.format(color),
        color=color,
        imei=(draw.imei(), draw.imei()) if product.cellular else (),
        eid=f"8904{draw.below(10**28):028}" if product.cellular else None,
        wifi_mac_address=draw.mac(),
        bluetooth_mac_address=draw.mac(),
        ethernet_mac_address=draw.mac() if family in (Family.MAC, Family.APPLE_TV) else None,
    )


def of_lab(machine: Hardware, seed: int) -> Record:
    """A device that the lab plays, as Apple sold it."""
    family = _KINDS[machine.kind]
    known = bought(machine.number, seed, family, machine.serial)
    return known.changed(
        model=machine.model_name.upper() if family is not Family.MAC else machine.model_name,
        description=f"{machine.model_name} {machine.capacity:.0f}GB {known.color}-USA",
        imei=(machine.imei.replace(" ", ""),) if machine.imei else (),
        eid=known.eid if machine.imei else None,
        wifi_mac_address=machine.wifi_mac,
    )


class _Draw:
    """Many small draws from one hash: `random.Random` takes longer to seed than to use."""

    def __init__(self, seed: str) -> None:
        digest = hashlib.blake2b(seed.encode()).digest()
        again = hashlib.blake2b(digest).digest()
        self._pool = int.from_bytes(digest + again, "big")

    def below(self, bound: int) -> int:
        self._pool, drawn = divmod(self._pool, bound)
        return drawn

    def one_of(self, choices: Sequence[T]) -> T:
        return choices[self.below(len(choices))]

    def mac(self) -> str:
        return self.below(1 << 48).to_bytes(6, "big").hex(":")

    def imei(self) -> str:
        digits = f"35{self.below(10**12):012}"
        doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(digits)]
        return digits + str(-sum(value // 10 + value % 10 for value in doubled) % 10)
