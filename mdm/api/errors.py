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
