"""Quarantine in the API: who is waiting, and the decision."""

from __future__ import annotations

from typing import Any

import django_filters
from drf_spectacular.utils import extend_schema
from rest_framework import mixins
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from mdm import quarantine
from mdm.api.answers import answer_with
from mdm.api.errors import Conflict
from mdm.api.resources import Resource
from mdm.audit.actor import Actor
from mdm.models import Quarantine
from mdm.serializers import QuarantineSerializer

answer_with(quarantine.AlreadyDecided, Conflict)


class QuarantineFilter(django_filters.FilterSet):  # type: ignore[misc]
    """Which cases a list holds."""

    state = django_filters.MultipleChoiceFilter(choices=Quarantine.State.choices)
    serial_number = django_filters.CharFilter(max_length=64)

    class Meta:
        model = Quarantine
        fields: list[str] = []


class QuarantineViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, Resource[Quarantine]):
    """Devices that turned up with an identity not issued for them."""

    rights = {
        "list": "server.read",
        "retrieve": "server.read",
        "accept": "quarantine.decide",
        "reject": "quarantine.decide",
    }
    queryset = Quarantine.objects.defer("certificate", "body", "binding")
    serializer_class = QuarantineSerializer
    filterset_class = QuarantineFilter
    lookup_value_converter = "int"

    @extend_schema(request=None, responses=QuarantineSerializer)
    @action(detail=True, methods=["post"])
    def accept(self, request: Request, **kwargs: Any) -> Response:
        """Let the device's next attempt in."""
        case = self.get_object()
        quarantine.accept(Actor.of(request), case.pk)
        return self._now(case)

    @extend_schema(request=None, responses=QuarantineSerializer)
    @action(detail=True, methods=["post"])
    def reject(self, request: Request, **kwargs: Any) -> Response:
        """Keep the device out."""
        case = self.get_object()
        quarantine.reject(Actor.of(request), case.pk)
        return self._now(case)

    def _now(self, case: Quarantine) -> Response:
        return Response(self.get_serializer(self.get_queryset().get(pk=case.pk)).data)
