"""Simulated devices: real keys, real sockets, the answers of their platform. `device` is the
machine they share; `iphone`, `ipad`, `mac`, `apple_tv` and `vision` are where they differ."""

from lab.devices.apple_tv import AppleTV
from lab.devices.device import Device, Surroundings
from lab.devices.hardware import Hardware, Model, hardware
from lab.devices.ipad import IPad
from lab.devices.iphone import IPhone
from lab.devices.mac import Mac
from lab.devices.vision import Vision

__all__ = [
    "AppleTV",
    "Device",
    "Hardware",
    "IPad",
    "IPhone",
    "Mac",
    "Model",
    "Surroundings",
    "Vision",
    "hardware",
]
