"""Devices in the API. Their enrollments stand in `mdm/api/enrollments.py`."""

from __future__ import annotations

from typing import Any, cast

import django_filters
from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from mdm import devices, search, standing
from mdm.api.answers import answer_with
from mdm.api.errors import Conflict
from mdm.api.resources import Resource
from mdm.api.timeline import TimelineEventSerializer, TimelinePagination
from mdm.audit.actor import Actor
from mdm.models import Device, Enrollment
from mdm.serializers import DeviceSerializer

answer_with(devices.StillEnrolled, Conflict)


class DeviceFilter(django_filters.FilterSet):  # type: ignore[misc]
    """Which devices a list holds."""

    search = django_filters.CharFilter(
        method="filter_search",
        max_length=100,
        label="Any part of the serial number, the name, the UDID or the model's name.",
    )
    serial_number = django_filters.CharFilter(max_length=64, lookup_expr="exact")
    platform = django_filters.MultipleChoiceFilter(choices=Device.Platform.choices)
    os_version = django_filters.CharFilter(max_length=64)
    supervised = django_filters.BooleanFilter()
    retired = django_filters.BooleanFilter(
        field_name="retired_at",
        lookup_expr="isnull",
        exclude=True,
        label="Retired devices alone, or none of them, which is the default.",
    )
    standing = django_filters.ChoiceFilter(choices=standing.CHOICES, method="filter_standing")
    state = django_filters.MultipleChoiceFilter(
        field_name="enrollment__state", choices=Enrollment.State.choices
    )
    last_seen_after = django_filters.IsoDateTimeFilter(
        field_name="enrollment__last_seen_at", lookup_expr="gte"
    )
    last_seen_before = django_filters.IsoDateTimeFilter(
        field_name="enrollment__last_seen_at", lookup_expr="lt"
    )

    class Meta:
        model = Device
        fields: list[str] = []

    def filter_search(self, queryset: QuerySet[Device], name: str, value: str) -> QuerySet[Device]:
        return search.devices(queryset, value)

    def filter_standing(
        self, queryset: QuerySet[Device], name: str, value: str
    ) -> QuerySet[Device]:
        return queryset.filter(standing.condition(value, timezone.now()))


class DeviceViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, Resource[Device]):
    """Machines, by id."""

    rights = {
        "list": "device.read",
        "retrieve": "device.read",
        "retire": "device.retire",
        "unretire": "device.retire",
        "destroy": "device.delete",
        "timeline": "device.read",
    }
    serial_number_at = "serial_number"
    queryset = Device.objects.select_related("enrollment")
    serializer_class = DeviceSerializer
    filterset_class = DeviceFilter
    lookup_value_converter = "int"

    def get_queryset(self) -> QuerySet[Device]:
        queryset = super().get_queryset()
        asked = {"retired", "standing"} & set(self.request.query_params)
        return queryset.filter(retired_at=None) if self.action == "list" and not asked else queryset

    def hold(self, row: Device) -> None:
        # As a device that is retired: its enrollments end first.
        list(Enrollment.objects.filter(device=row).order_by("pk").select_for_update(of=("self",)))
        super().hold(row)

    @extend_schema(request=None, responses=DeviceSerializer)
    @action(detail=True, methods=["post"])
    def retire(self, request: Request, **kwargs: Any) -> Response:
        """Take the device out of use. Its history stays."""
        device = self.get_object()
        devices.retire(Actor.of(request), device)
        return self._now(device)

    @extend_schema(request=None, responses=DeviceSerializer)
    @action(detail=True, methods=["post"])
    def unretire(self, request: Request, **kwargs: Any) -> Response:
        """Take the device into use again."""
        device = self.get_object()
        devices.unretire(Actor.of(request), device)
        return self._now(device)

    @extend_schema(request=None, responses={status.HTTP_204_NO_CONTENT: None})
    def destroy(self, request: Request, **kwargs: Any) -> Response:
        """Delete the device with its enrollments and its whole history."""
        devices.delete(Actor.of(request), self.get_object())
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(responses=TimelineEventSerializer(many=True))
    @action(detail=True, filterset_class=None, pagination_class=TimelinePagination)
    def timeline(self, request: Request, **kwargs: Any) -> Response:
        """What happened to the device, newest first: what it sent, what was sent to it, what people
        did to it, and what Apple Business Manager told of it.
        """
        walk = cast(TimelinePagination, self.paginator)
        events = walk.walk(request, self.get_object())
        return walk.get_paginated_response(TimelineEventSerializer(events, many=True).data)

    def _now(self, device: Device) -> Response:
        fresh = self.get_queryset().get(pk=device.pk)
        return Response(self.get_serializer(fresh).data)
