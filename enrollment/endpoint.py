"""SCEP over HTTP, at /scep; what it means is `enrollment/scep.py`.

It is served as every device endpoint is (mdm/endpoints.py): no session, never a 401.
"""

from __future__ import annotations

import base64
import binascii
from urllib.parse import parse_qs

from enrollment import scep
from enrollment.wire.errors import ScepError, Unreadable
from enrollment.wire.scep import MAX_MESSAGE, capabilities
from mdm.endpoints import DeviceRequest, DeviceResponse
from mdm.refusals import Refused, refuse

PATH = "/scep"
METHODS = ("GET", "POST")
MAX_BODY = MAX_MESSAGE


def respond(request: DeviceRequest) -> DeviceResponse:
    """Answer GetCACaps, GetCACert and PKIOperation (RFC 8894 §4). Raises Refused."""
    query = _query(request)
    match query.get("operation"):
        case "GetCACaps":
            return DeviceResponse(capabilities(), "text/plain")
        case "GetCACert":
            return DeviceResponse(scep.ca_certificate(), "application/x-x509-ca-cert")
        case "PKIOperation":
            return _operate(request, query)
        case _:
            raise Refused("scep_operation", "Not an operation of SCEP.", status=400)


def _operate(request: DeviceRequest, query: dict[str, str]) -> DeviceResponse:
    try:
        reply = scep.answer(_message(request, query))
    except ScepError as error:
        raise Refused("scep_unreadable", str(error), status=400) from error
    if reply.refused is not None:
        reason = f"scep_{reply.refused.fail_info.name.lower()}"
        refuse(Refused(reason, str(reply.refused), status=200), address=request.address)
    return DeviceResponse(reply.body, "application/x-pki-message")


def _message(request: DeviceRequest, query: dict[str, str]) -> bytes:
    """The body of a POST, whatever its query repeats; the query's `message` of a GET."""
    if request.environ["REQUEST_METHOD"] == "POST" and request.body:
        return request.body
    # Clients that do not escape the plus sign of base64 mean no space.
    text = query.get("message", "").replace(" ", "+")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unreadable("the message is not in base64") from error


def _query(request: DeviceRequest) -> dict[str, str]:
    text = str(request.environ.get("QUERY_STRING", ""))
    try:
        fields = parse_qs(text, max_num_fields=10, errors="strict")
    except ValueError as error:
        raise Refused("scep_query", "The query cannot be read.", status=400) from error
    return {name: values[0] for name, values in fields.items()}
