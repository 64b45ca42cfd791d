"""Apple Business Manager and its device enrollment service, played: `portal` is what an admin does
in the browser, `service` what an MDM server is answered, `listener` the socket."""

from lab.dep.clock import Clock
from lab.dep.listener import DepStandIn
from lab.dep.portal import Portal

__all__ = ["Clock", "DepStandIn", "Portal"]
