"""A simulated iPhone: a mobile device with a passcode and a phone number's worth of hardware."""

from __future__ import annotations

from lab.devices.mobile import Mobile


class IPhone(Mobile):
    pass
