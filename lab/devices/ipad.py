"""A simulated iPad. Shared iPads come with Automated Device Enrollment, not through a link."""

from __future__ import annotations

from lab.devices.mobile import Mobile


class IPad(Mobile):
    pass
