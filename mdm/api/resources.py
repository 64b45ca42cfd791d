"""What every resource of the API has beside its own: `fields`, validators (ETags), idempotency keys
and a budget of requests. Each of them has a module of its own; here they meet a request.

A view of the API is a `Resource`; a test holds that of each in `mdm/api_urls.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from django.db import transaction
from django.db.models import Model
from django.shortcuts import get_object_or_404
from rest_framework import viewsets
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request, clone_request
from rest_framework.response import Response

from mdm.api import etags, fields, limits, once
from mdm.api.errors import PreconditionFailed

Row = TypeVar("Row", bound=Model)
Handler = Callable[..., Response]

_WRITES = {"post", "patch", "put", "delete"}
_EACH_RECORDED = "This shows a secret, and each reading is recorded: ask without a key."


class JSONAlone(DefaultContentNegotiation):
    """The API speaks JSON and nothing else, so there is nothing to negotiate."""

    def select_renderer(self, request: Request, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type


class Resource(viewsets.GenericViewSet[Row]):
    """Things of one kind, at one address each."""

    content_negotiation_class = JSONAlone
    # Actions that show a secret and record each time that they do: they take no idempotency key, as
    # an answer that is kept could be read again without a record.
    readings: frozenset[str] = frozenset()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        # rest_framework looks for the handler right after this, by the method's name.
        method = (request.method or "").lower()
        handler = getattr(self, method, None)
        if method in _WRITES and handler is not None:
            setattr(self, method, partial(self._write, handler))

    def check_permissions(self, request: Request) -> None:
        # Whoever may not do something uses up the budget too.
        self.check_throttles(request)
        super().check_permissions(request)

    def get_object(self) -> Row:
        if any("\0" in str(value) for value in self.kwargs.values()):
            # No text in the database has one, nor can it be asked for one.
            raise NotFound
        return super().get_object()

    def get_serializer(self, *args: Any, **kwargs: Any) -> Any:
        serializer = super().get_serializer(*args, **kwargs)
        if self.action in fields.ACTIONS:
            fields.narrow(serializer, self.request)
        return serializer

    def finalize_response(
        self, request: Request, response: Response, *args: Any, **kwargs: Any
    ) -> Response:
        final = super().finalize_response(request, response, *args, **kwargs)
        limits.tell(request, final)
        if request.method in {"GET", "HEAD"} and final.status_code == 200:
            return etags.validate(request, final)
        return final

    def hold(self, row: Row) -> None:
        """Lock `row` until the transaction ends, so that it stays as If-Match wants it. A view
        whose acts take another lock before the row's takes that one first.
        """
        # The row alone, without what the view's list selects with it.
        get_object_or_404(type(row)._base_manager.select_for_update(), pk=row.pk)

    def _write(self, handler: Handler, request: Request, *args: Any, **kwargs: Any) -> Response:
        act = partial(self._if_match, handler, request, *args, **kwargs)
        key = request.headers.get("Idempotency-Key")
        if key is None or request.method != "POST":
            return act()
        if self.action in self.readings:
            raise ValidationError({"Idempotency-Key": [_EACH_RECORDED]})
        return once.answer(request, key, act)

    def _if_match(self, handler: Handler, request: Request, *args: Any, **kwargs: Any) -> Response:
        wanted = request.headers.get("If-Match")
        if wanted is None or not self.detail:
            return handler(request, *args, **kwargs)
        with transaction.atomic():
            self.hold(self.get_object())
            if not etags.matches(wanted, self._etag_now(request)):
                raise PreconditionFailed
            return handler(request, *args, **kwargs)

    def _etag_now(self, request: Request) -> str | None:
        """The ETag that GET would show at this address at this moment or, where this address cannot
        be read, at the resource's own. None where there is nothing.
        """
        kept = self.action, self.request
        self.action = self.action_map.get("get") or "retrieve"
        self.request = clone_request(request, "GET")
        try:
            found = getattr(self, self.action)(self.request, *self.args, **self.kwargs)
        finally:
            self.action, self.request = kept
        return etags.of(found.data)
