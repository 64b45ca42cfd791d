"""The API's own reasons to say no, beside those of rest_framework.

`mdm/api/answers.py` turns the domain's errors into these.
"""

from __future__ import annotations

from rest_framework import exceptions, status


class Conflict(exceptions.APIException):
    """What was asked does not fit the state that things are in; the detail says why."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "conflict"
    default_detail = "This does not fit the present state."


class TooLarge(exceptions.APIException):
    """The body of the request is larger than the API reads."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_large"
    default_detail = "The body is larger than this server reads."

    def __init__(self, detail: object = None) -> None:
        # What Django has to say of it names a setting, which is nobody's business outside.
        super().__init__()


class PreconditionFailed(exceptions.APIException):
    """If-Match named an ETag that is not the present one."""

    status_code = status.HTTP_412_PRECONDITION_FAILED
    default_code = "precondition_failed"
    default_detail = "It has changed since it was read: read it again, and decide anew."


class AnotherRequest(exceptions.APIException):
    """An idempotency key came again with another request."""

    status_code = status.HTTP_422_UNPROCESSABLE_ENTITY
    default_code = "idempotency_key_reused"
    default_detail = "This Idempotency-Key was used for another request: choose a new one for each."


class TryAgain(exceptions.APIException):
    """Two requests were in each other's way, and the database ended this one."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "try_again"
    default_detail = "Nothing was done: another request changed the same just now. Send it again."
    wait = 1


class StillRunning(Conflict):
    """The first request with an idempotency key is not finished."""

    default_code = "still_running"
    default_detail = "The first request with this Idempotency-Key is still running."
    wait = 1
