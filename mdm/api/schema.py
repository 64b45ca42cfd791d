"""What the OpenAPI document says of every operation alike: its errors, its validators, idempotency
keys and `fields`. What is particular to one stands at its view.
"""

from __future__ import annotations

from typing import Any

from drf_spectacular import openapi
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import Direction, OpenApiExample, OpenApiParameter, OpenApiResponse
from drf_standardized_errors.openapi_serializers import (
    ClientErrorEnum,
    ServerErrorEnum,
    ValidationErrorEnum,
)
from rest_framework import serializers

from mdm.api import fields, once

_TYPES = [ValidationErrorEnum, ClientErrorEnum, ServerErrorEnum]
_WRITES = {"POST", "PATCH", "PUT", "DELETE"}


class ErrorDetailSerializer(serializers.Serializer[Any]):
    """One thing that is wrong."""

    code = serializers.CharField(help_text="A word for programs, such as `required`.")
    detail = serializers.CharField(help_text="A sentence for people.")
    attr = serializers.CharField(
        allow_null=True, help_text="The field that it is about; null where it is about none."
    )


class ErrorSerializer(serializers.Serializer[Any]):
    """Why a request was not done, in one shape for all that can go wrong."""

    type = serializers.ChoiceField(choices=[choice for kind in _TYPES for choice in kind.choices])
    errors = ErrorDetailSerializer(many=True)  # type: ignore[assignment]


ERRORS = {
    "400": "Something to put right.",
    "401": "No token or session, or one that does not count (any more).",
    "403": "The caller may not do this.",
    "404": "There is nothing at this address, or nothing that the caller may see.",
    "409": "This does not fit the present state, or the first request with this Idempotency-Key"
    " is still running (then with Retry-After).",
    "412": "It has changed since it was read: If-Match names another ETag.",
    "413": "The body is larger than the server reads.",
    "415": "The body is not JSON.",
    "422": "The Idempotency-Key was used for another request.",
    "429": "The minute's budget of requests is used up; Retry-After says when there is a new one.",
    "503": "Another request changed the same just now, and nothing was done: send it again after"
    " Retry-After.",
}


def asking(name: str, /, **body: Any) -> OpenApiExample:
    """An example of a request's body."""
    return OpenApiExample(name, value=body, request_only=True)


def answering(name: str, status: int, /, **body: Any) -> OpenApiExample:
    """An example of an answer's body."""
    return OpenApiExample(name, value=body, response_only=True, status_codes=[str(status)])


class AutoSchema(openapi.AutoSchema):
    """The schema of one operation."""

    def get_override_parameters(self) -> list[Any]:
        found: list[Any] = [_RATE, _POLICY, _RETRY_AFTER]
        if self.method == "GET":
            found += [_IF_NONE_MATCH, _ETAG]
        elif getattr(self.view, "detail", False):
            found.append(_IF_MATCH)
        if self._takes_keys():
            found += [_IDEMPOTENCY_KEY, _REPLAYED]
        if self.method == "GET" and getattr(self.view, "action", None) in fields.ACTIONS:
            found.append(_fields(self.view))
        return found

    def _get_response_bodies(self, direction: Direction = "response") -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction)
        if direction != "response":
            return bodies
        if self.method == "GET":
            bodies["304"] = {"description": "It is as If-None-Match says."}
        for status in self._possible():
            said = OpenApiResponse(ErrorSerializer, ERRORS[status])
            if status not in bodies:
                bodies[status] = self._get_response_for_code(said, status)  # type: ignore[no-untyped-call]
        return dict(sorted(bodies.items()))

    def _map_serializer_field(self, field: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        schema: dict[str, Any] = super()._map_serializer_field(  # type: ignore[no-untyped-call]
            field, *args, **kwargs
        )
        # Any JSON is null too: said twice, null would match both and so none of them.
        if schema.get("oneOf") == [{}, {"type": "null"}]:
            del schema["oneOf"]
        return schema

    def _takes_keys(self) -> bool:
        readings = getattr(self.view, "readings", ())
        return self.method == "POST" and getattr(self.view, "action", None) not in readings

    def _possible(self) -> set[str]:
        """The statuses of errors that this operation can meet."""
        places = {parameter["in"] for parameter in self._get_parameters()}
        found = {"401", "403", "429"}
        if places & {"query"} or self.method in {"POST", "PATCH", "PUT"}:
            found.add("400")
        if "path" in places or (self.method == "GET" and self._get_paginator()):  # type: ignore[no-untyped-call]
            found.add("404")
        if self.method in _WRITES:
            found |= {"409", "503"}
            if getattr(self.view, "detail", False):
                found.add("412")
        if self._takes_keys():
            found |= {"413", "422"}
        if self.method in {"POST", "PATCH", "PUT"} and self._get_request_body():  # type: ignore[no-untyped-call]
            found |= {"413", "415"}
        return found


def _header(name: str, description: str, **more: Any) -> OpenApiParameter:
    return OpenApiParameter(
        name, OpenApiTypes.STR, OpenApiParameter.HEADER, description=description, **more
    )


_ALL = [int(status) for status in ERRORS]
_RATE = _header(
    "RateLimit",
    'What is left of the minute\'s budget: `"requests";r=REMAINING;t=SECONDS`.',
    response=True,
)
_POLICY = _header(
    "RateLimit-Policy", 'The budget: `"requests";q=REQUESTS;w=SECONDS`.', response=True
)
_RETRY_AFTER = _header(
    "Retry-After", "In how many seconds to try again.", response=[409, 429, 503], required=False
)
_ETAG = _header("ETag", "Changes whenever the answer does.", response=[200, 304])
_IF_NONE_MATCH = _header(
    "If-None-Match", "An ETag that was read before: the answer is 304 where it is still the same."
)
_IF_MATCH = _header(
    "If-Match",
    "The ETag with which the thing was read (GET at this address or, where it cannot be read, at"
    " the thing's own; with the same `fields`): where it has changed since, nothing is done.",
)
_IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "pattern": "^[ -~]+$", "minLength": 1, "maxLength": once.LONGEST},
    OpenApiParameter.HEADER,
    description="Any text, a new one for each act. The same request with the same key is done once:"
    " for 24 hours it gets the first answer again. What failed was not done, and may be tried anew"
    " with the same key.",
)
_REPLAYED = _header(
    "Idempotency-Replayed",
    "`true` where this is the answer that the request got when it came first.",
    response=[200, 201, 202, 204],
)


def _fields(view: Any) -> OpenApiParameter:
    known = view.get_serializer_class()().fields
    return OpenApiParameter(
        "fields",
        {"type": "array", "items": {"type": "string"}, "minItems": 1},
        OpenApiParameter.QUERY,
        description="Answer with these fields alone, also where others are said to be always there."
        f" There are {', '.join(known)}.",
        style="form",
        explode=False,
    )
