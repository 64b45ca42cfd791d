"""A stand-in for Apple's push service: HTTP/2 over TLS, Apple's status codes and reasons, faults
to order. `server` speaks the protocol, `rules` decides, `postbox` delivers, `faults` spoils."""

from lab.apns.faults import Fault, FaultKind
from lab.apns.postbox import Postbox
from lab.apns.server import ApnsStandIn

__all__ = ["ApnsStandIn", "Fault", "FaultKind", "Postbox"]
