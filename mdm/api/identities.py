"""Device identities in the API: the certificates that this server issued. To read alone."""

from __future__ import annotations

import django_filters
from django.db.models import Q, QuerySet
from django.utils import timezone
from rest_framework import mixins

from mdm import identities
from mdm.api.filters import IdFilter
from mdm.api.resources import Resource
from mdm.identities import State
from mdm.models import Identity
from mdm.serializers import IdentitySerializer

Rows = QuerySet[Identity]


class IdentityFilter(django_filters.FilterSet):  # type: ignore[misc]
    """Which identities a list holds."""

    search = django_filters.CharFilter(
        method="filter_search",
        max_length=100,
        label="Part of a device's serial number or name, or how a SHA-256 begins.",
    )
    state = django_filters.MultipleChoiceFilter(choices=State.choices, method="filter_state")
    expires_before = django_filters.IsoDateTimeFilter(field_name="expires_at", lookup_expr="lt")
    device = IdFilter("enrollment__device_id")
    enrollment = IdFilter("enrollment_id")
    serial_number = django_filters.CharFilter(
        field_name="enrollment__device__serial_number", max_length=64
    )
    sha256 = django_filters.CharFilter(
        method="filter_sha256", max_length=95, label="The whole SHA-256, in hexadecimal digits."
    )

    class Meta:
        model = Identity
        fields: list[str] = []

    def filter_search(self, queryset: Rows, name: str, value: str) -> Rows:
        return identities.search(queryset, value)

    def filter_state(self, queryset: Rows, name: str, value: list[str]) -> Rows:
        now, wanted = timezone.now(), Q()
        for each in value:
            wanted |= identities.condition(State(each), now)
        return queryset.filter(wanted)

    def filter_sha256(self, queryset: Rows, name: str, value: str) -> Rows:
        try:
            return queryset.filter(sha256=bytes.fromhex(value.replace(":", "")))
        except ValueError:
            return queryset.none()


class IdentityViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, Resource[Identity]):
    """The certificates with which devices prove who they are."""

    rights = {"list": "device.read", "retrieve": "device.read"}
    serial_number_at = "enrollment__device__serial_number"
    queryset = Identity.objects.select_related("enrollment__device").only(
        *("sha256", "binding", "issued_at", "expires_at", "revoked_at", "access_rights"),
        *("enrollment", "enrollment__state", "enrollment__identity_sha256", "enrollment__device"),
        "enrollment__device__serial_number",
    )
    serializer_class = IdentitySerializer
    filterset_class = IdentityFilter
    lookup_value_converter = "int"
