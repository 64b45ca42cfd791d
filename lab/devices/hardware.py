"""What a simulated device is: model, serial number, name, owner, apps, all drawn from a seed, so
that the same number is the same machine in every run."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass
from enum import StrEnum

_SERIAL_LETTERS = "CDFGHJKLMNPQRTVWXY0123456789"


class Model(StrEnum):
    IPHONE = "iphone"
    IPAD = "ipad"
    MAC = "mac"
    APPLE_TV = "appletv"
    VISION = "vision"


@dataclass(frozen=True, slots=True)
class Owner:
    """The person who carries the device; on a Mac, the account that enrolled it."""

    long_name: str
    short_name: str
    user_id: str


@dataclass(frozen=True, slots=True)
class Hardware:
    """`capacity` is in GB. `product` is the identifier (iPhone15,2), `model` the order number on
    iOS and the identifier on macOS, as each platform reports it."""

    kind: Model
    number: int
    udid: str
    serial: str
    name: str
    product: str
    model: str
    model_name: str
    os_version: str
    build: str
    capacity: float
    imei: str | None
    wifi_mac: str
    owner: Owner
    large: bool


@dataclass(frozen=True, slots=True)
class _Product:
    product: str
    order: str
    name: str
    capacities: tuple[int, ...]
    cellular: bool = False


_PRODUCTS = {
    Model.IPHONE: (
        _Product("iPhone14,5", "MLPG3", "iPhone 13", (128, 256), True),
        _Product("iPhone15,2", "MQ0G3", "iPhone 14 Pro", (128, 256, 512), True),
        _Product("iPhone15,4", "MTP03", "iPhone 15", (128, 256), True),
        _Product("iPhone17,1", "MYNE3", "iPhone 16 Pro", (128, 256), True),
        _Product("iPhone17,3", "MYEA3", "iPhone 16", (128, 256), True),
        _Product("iPhone18,3", "MG6J4", "iPhone 17", (256, 512), True),
    ),
    Model.IPAD: (
        _Product("iPad13,18", "MPQ13", "iPad (10th generation)", (64, 256)),
        _Product("iPad14,8", "MUWE3", "iPad Air 11-inch (M2)", (128, 256)),
        _Product("iPad15,7", "MD4A4", "iPad (A16)", (128, 256)),
        _Product("iPad16,3", "MVV83", "iPad Pro 11-inch (M4)", (256, 512), True),
    ),
    Model.APPLE_TV: (
        _Product("AppleTV11,1", "MXGY2", "Apple TV 4K", (32, 64)),
        _Product("AppleTV14,1", "MN893", "Apple TV 4K", (64, 128)),
    ),
    Model.VISION: (_Product("RealityDevice14,1", "MQL83", "Apple Vision Pro", (256, 512)),),
    Model.MAC: (
        _Product("Mac14,2", "MLY33", "MacBook Air", (256, 512)),
        _Product("Mac15,3", "MTL73", "MacBook Pro", (512, 1000)),
        _Product("Mac16,1", "MW2U3", "MacBook Pro", (512, 1000)),
        _Product("Mac16,3", "MWUF3", "iMac", (256, 512)),
        _Product("Mac16,10", "MU9D3", "Mac mini", (256, 512)),
    ),
}
_SYSTEMS = {
    Model.IPHONE: (("26.1", "23B85"), ("26.0.1", "23A355"), ("18.7.2", "22H124")),
    Model.IPAD: (("26.1", "23B85"), ("26.0.1", "23A355"), ("18.7.2", "22H124")),
    Model.APPLE_TV: (("26.1", "23J579"), ("18.6", "22M84")),
    Model.VISION: (("26.1", "23N47"),),
    Model.MAC: (("26.1", "25B78"), ("26.0.1", "25A362"), ("15.7.2", "24G325")),
}
_FIRST = (
    "Anna Ben Carla David Elena Felix Greta Hugo Ines Jonas Kaya Liam Mara Noah Olivia Paul "
    "Quinn Rosa Samuel Tess Uma Victor Wanda Xavier Yara Zoe Amir Bianca Chen Dora Emil Freya"
)
_LAST = (
    "Adler Becker Costa Duarte Eriksen Fischer Garcia Hoffmann Ito Jensen Kowalski Lindgren "
    "Moreau Novak Okafor Petrov Quist Rossi Sato Tanaka Ueda Vogel Weber Xu Yilmaz Zimmer"
)


def hardware(kind: Model, number: int, seed: int = 0) -> Hardware:
    """Device `number` of the lab with this `seed`."""
    draw = random.Random(f"{seed}/{kind}/{number}")
    product = draw.choice(_PRODUCTS[kind])
    version, build = draw.choice(_SYSTEMS[kind])
    owner = _owner(draw)
    return Hardware(
        kind=kind,
        number=number,
        udid=_udid(kind, draw),
        serial="".join(draw.choices(_SERIAL_LETTERS, k=10)),
        name=f"{owner.long_name.split()[0]}’s {_everyday_name(kind, product)}",
        product=product.product,
        model=product.product if kind is Model.MAC else product.order,
        model_name=product.name if kind is Model.MAC else _everyday_name(kind, product),
        os_version=version,
        build=build,
        capacity=float(draw.choice(product.capacities)),
        imei=_imei(draw) if product.cellular else None,
        wifi_mac=":".join(f"{draw.randrange(256):02x}" for _ in range(6)),
        owner=owner,
        large=draw.random() < 0.1,
    )


def _owner(draw: random.Random) -> Owner:
    first, last = draw.choice(_FIRST.split()), draw.choice(_LAST.split())
    user_id = str(uuid.UUID(int=draw.getrandbits(128), version=4)).upper()
    return Owner(f"{first} {last}", f"{first}.{last}".lower(), user_id)


def _everyday_name(kind: Model, product: _Product) -> str:
    return {Model.IPHONE: "iPhone", Model.IPAD: "iPad"}.get(kind, product.name)


def _udid(kind: Model, draw: random.Random) -> str:
    if kind is Model.MAC:
        return str(uuid.UUID(int=draw.getrandbits(128), version=4)).upper()
    chip = draw.choice(("00008110", "00008120", "00008130", "00008140"))
    return f"{chip}-{draw.getrandbits(64):016X}"


def _imei(draw: random.Random) -> str:
    digits = "35" + "".join(str(draw.randrange(10)) for _ in range(12))
    doubled = [int(d) * (1 + i % 2) for i, d in enumerate(digits)]
    check = -sum(d // 10 + d % 10 for d in doubled) % 10
    return f"{digits[:2]} {digits[2:8]} {digits[8:14]} {check}"
