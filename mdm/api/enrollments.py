"""Enrollments and what the devices behind them reported, in the API."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import Prefetch, QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import mixins, serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from mdm import devices
from mdm.api.errors import Conflict
from mdm.api.filters import IdFilter
from mdm.api.resources import Resource
from mdm.audit.actor import Actor
from mdm.models import Enrollment, Escrow, Identity
from mdm.serializers import (
    EnrollmentDetailSerializer,
    EnrollmentSerializer,
    SectionDetailSerializer,
    SectionSerializer,
)

# What one enrollment tells more than a list, without what is large or secret.
_MORE = (
    "periods",
    Prefetch("identities", Identity.objects.defer("certificate", "binding").order_by("-pk")),
    Prefetch("escrow", Escrow.objects.defer("sealed").order_by("kind")),
)


class EnrollmentFilter(django_filters.FilterSet):  # type: ignore[misc]
    """Which enrollments a list holds."""

    serial_number = django_filters.CharFilter(field_name="device__serial_number", max_length=64)
    device = IdFilter("device_id")
    state = django_filters.MultipleChoiceFilter(choices=Enrollment.State.choices)
    kind = django_filters.ChoiceFilter(choices=Enrollment.Kind.choices)
    channel = django_filters.MultipleChoiceFilter(choices=Enrollment.Channel.choices)

    class Meta:
        model = Enrollment
        fields: list[str] = []


class EnrollmentViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, Resource[Enrollment]):
    """Relations of devices, and of users on them, with this server."""

    rights = {
        "list": "device.read",
        "retrieve": "device.read",
        "release": "enrollment.release",
        "wake": "enrollment.wake",
        "inventory": "device.read",
        "section": "device.read",
    }
    serial_number_at = "device__serial_number"
    queryset = Enrollment.objects.select_related("device").defer("sealed_push_token")
    filterset_class = EnrollmentFilter
    lookup_value_converter = "int"

    def get_queryset(self) -> QuerySet[Enrollment]:
        queryset = super().get_queryset()
        return queryset.prefetch_related(*_MORE) if self.detail else queryset

    def get_serializer_class(self) -> type[serializers.BaseSerializer[Enrollment]]:
        return EnrollmentDetailSerializer if self.detail else EnrollmentSerializer

    @extend_schema(request=None, responses=EnrollmentDetailSerializer)
    @action(detail=True, methods=["post"])
    def release(self, request: Request, **kwargs: Any) -> Response:
        """End management from this side: the device may enroll again, and gets nothing more."""
        enrollment = self.get_object()
        devices.release(Actor.of(request), enrollment)
        return Response(self.get_serializer(self.get_queryset().get(pk=enrollment.pk)).data)

    @extend_schema(request=None, responses={status.HTTP_204_NO_CONTENT: None})
    @action(detail=True, methods=["post"])
    def wake(self, request: Request, **kwargs: Any) -> Response:
        """Ask Apple to tell the device to connect."""
        try:
            devices.wake(Actor.of(request), self.get_object())
        except devices.NotEnrolled as error:
            raise Conflict(str(error)) from error
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(responses=SectionSerializer(many=True))
    @action(detail=True, filterset_class=None, pagination_class=None)
    def inventory(self, request: Request, **kwargs: Any) -> Response:
        """Which sections the device has reported."""
        sections = self.get_object().inventory.defer("data").order_by("section")
        return Response(SectionSerializer(sections, many=True).data)

    @extend_schema(
        responses=SectionDetailSerializer,
        parameters=[OpenApiParameter("section", OpenApiTypes.STR, OpenApiParameter.PATH)],
    )
    @action(
        detail=True,
        url_path="inventory/<str:section>",
        url_name="section",
    )
    def section(self, request: Request, section: str, **kwargs: Any) -> Response:
        """The last report of one section, such as DeviceInformation or ProfileList."""
        found = get_object_or_404(self.get_object().inventory, section=section)
        return Response(SectionDetailSerializer(found).data)
