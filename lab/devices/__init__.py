"""Simulated devices: real keys, real sockets, the answers of their platform. `device` is the
machine they share; `iphone`, `ipad` and `mac` are where they differ."""

from lab.devices.device import Device, Surroundings
from lab.devices.hardware import Hardware, Model, hardware
from lab.devices.ipad import IPad
from lab.devices.iphone import IPhone
from lab.devices.mac import Mac

__all__ = ["Device", "Hardware", "IPad", "IPhone", "Mac", "Model", "Surroundings", "hardware"]
