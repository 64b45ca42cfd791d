"""How the API says no: one shape for every error, whatever raised it.

Apps name their own errors with `answer_with` when they load; the shape is that of
drf-standardized-errors: {"type", "errors": [{"code", "detail", "attr"}]}.
"""

from __future__ import annotations

from typing import Any, cast

from django.core.exceptions import RequestDataTooBig
from django.db import OperationalError
from drf_standardized_errors import handler
from psycopg.errors import DeadlockDetected
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.views import APIView

from mdm.api import limits
from mdm.api.errors import TooLarge, TryAgain
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
        if isinstance(exc, OperationalError) and isinstance(exc.__cause__, DeadlockDetected):
            return TryAgain()
        if isinstance(exc, exceptions.NotAuthenticated | exceptions.AuthenticationFailed):
            spent = limits.stranger(self.context["request"])
            if spent.over:
                return exceptions.Throttled(spent.seconds)
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
