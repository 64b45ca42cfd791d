"""How the API says no: one shape for every error, whatever raised it.

Apps name their own errors with `answer_with` when they load; the shape is that of
drf-standardized-errors: {"type", "errors": [{"code", "detail", "attr"}]}.
"""

from __future__ import annotations

from typing import Any, cast

from django.core.exceptions import RequestDataTooBig
from drf_standardized_errors import handler, openapi
from drf_standardized_errors.openapi_serializers import ClientErrorEnum
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.views import APIView

from mdm.api.errors import TooLarge
from mdm.audit import refused
from mdm.audit.actor import Actor
from mdm.audit.record import NotAllowed

_answers: dict[type[Exception], type[exceptions.APIException]] = {
    NotAllowed: exceptions.PermissionDenied,
    RequestDataTooBig: TooLarge,
}


def answer_with(error: type[Exception], answer: type[exceptions.APIException]) -> None:
    """Let the API answer `error`, whose message is a sentence for people, as `answer`."""
    _answers[error] = answer


class ExceptionHandler(handler.ExceptionHandler):
    """Turns the domain's errors into the API's; anything unforeseen becomes a bare 500."""

    def convert_known_exceptions(self, exc: Exception) -> Exception:
        self._count(exc)
        for error in type(exc).__mro__:
            if error in _answers:
                return _answers[error](str(exc))
        converted: Exception = super().convert_known_exceptions(exc)
        return converted

    def _count(self, exc: Exception) -> None:
        """What was refused is summed up; calls without any token are not."""
        request = cast(Request, self.context["request"])
        if isinstance(exc, NotAllowed):
            refused.count(Actor.of(request), exc.action, str(exc))
        elif isinstance(exc, exceptions.AuthenticationFailed):
            refused.count(Actor.stranger(request), "token.use", str(exc))


class NothingHere(APIView):
    """Answers every address under /api/ that is none."""

    permission_classes = ()
    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        raise exceptions.NotFound(
            "There is nothing at this address. Addresses of the API end with a slash."
        )


class ConflictErrorSerializer(serializers.Serializer[Any]):
    """One error of a 409."""

    code = serializers.ChoiceField(choices=[("conflict", "Conflict")])
    detail = serializers.CharField()
    attr = serializers.CharField(allow_null=True)


class ErrorResponse409Serializer(serializers.Serializer[Any]):
    """A 409 as the schema shows it."""

    type = serializers.ChoiceField(choices=ClientErrorEnum.choices)
    errors = ConflictErrorSerializer(many=True)  # type: ignore[assignment]


class AutoSchema(openapi.AutoSchema):
    """The schema's view of these errors: only what changes something can meet a conflict."""

    def _should_add_error_response(self, responses: dict[str, Any], status_code: str) -> bool:
        if status_code == "409" and self.method == "GET":
            return False
        shown: bool = super()._should_add_error_response(responses, status_code)
        return shown
