"""The address in ADE profiles, at /ade/<secret>, as a device endpoint; who gets in is `ade.py`.

The page on which someone signs in first is `pages/sign_in.py`.
"""

from __future__ import annotations

import json

from enrollment import ade
from enrollment.errors import NotReady
from enrollment.wire.profile import MIME_TYPE
from mdm.endpoints import DeviceRequest, DeviceResponse

PATH = "/ade/"
METHODS = ("POST",)
MAX_BODY = 64 * 1024


def respond(request: DeviceRequest) -> DeviceResponse:
    """Answer a device's MachineInfo with its enrollment profile, or with Apple's word for why
    not."""
    secret = str(request.environ["PATH_INFO"]).rpartition("/")[2]
    try:
        profile = ade.arrive(secret, request.body, request.address)
    except ade.TurnedAway as refused:
        return refusal(refused)
    except NotReady:
        return DeviceResponse(status=503, headers=(("Retry-After", "60"),))
    return DeviceResponse(profile, MIME_TYPE)


def refusal(refused: ade.TurnedAway) -> DeviceResponse:
    """The protocol's error: Apple's code where there is one, else the status alone."""
    if refused.status == 429:
        return DeviceResponse(status=429, headers=(("Retry-After", "3600"),))
    if not refused.code:
        return DeviceResponse(status=refused.status)
    content = {"code": refused.code, "description": refused.sentence}
    if refused.details:
        content["details"] = refused.details  # type: ignore[assignment]
    return DeviceResponse(json.dumps(content).encode(), "application/json", refused.status)
