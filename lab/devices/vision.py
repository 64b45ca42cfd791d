"""A simulated Apple Vision Pro: it answers as iPads do."""

from __future__ import annotations

from lab.devices.mobile import Mobile


class Vision(Mobile):
    pass
