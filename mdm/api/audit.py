"""The audit log in the API: what was done and read, and what was refused. To read alone."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import QuerySet
from rest_framework import mixins, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from mdm.api.resources import Resource
from mdm.audit import export, selectors
from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent, RefusedRequest
from mdm.pagination import NewestFirst


class AuditEventSerializer(serializers.ModelSerializer[AuditEvent]):
    """One change by someone, or one reading of a secret. `sealed_as` and `sealed_hash` are its
    place in the chain; null until it has one.
    """

    sealed_hash = serializers.SerializerMethodField(help_text="In hexadecimal digits.")

    class Meta:
        model = AuditEvent
        fields = [
            *("id", "at", "actor_kind", "actor_id", "actor_name", "address", "request_id"),
            *("action", "subject_kind", "subject_id", "before", "after"),
            *("sealed_as", "sealed_hash"),
        ]
        read_only_fields = fields

    def get_sealed_hash(self, event: AuditEvent) -> str | None:
        return bytes(event.sealed_hash).hex() if event.sealed_hash is not None else None


class RefusedRequestSerializer(serializers.ModelSerializer[RefusedRequest]):
    """How often someone was refused something from an address, in the hour from `hour` on."""

    actor_kind = serializers.CharField(
        read_only=True, help_text="person or token; empty for who did not prove who they are."
    )
    actor_id = serializers.CharField(
        read_only=True, help_text="`*` where all that did not fit are summed up."
    )
    detail = serializers.CharField(read_only=True, help_text="Why, the last time.")

    class Meta:
        model = RefusedRequest
        fields = [
            *("id", "hour", "actor_kind", "actor_id", "actor_name", "address", "action"),
            *("count", "first_at", "last_at", "detail", "request_id"),
        ]
        read_only_fields = fields


class AuditEventFilter(django_filters.FilterSet):  # type: ignore[misc]
    """Which events a list holds."""

    search = django_filters.CharFilter(
        method="filter_search",
        max_length=100,
        label="Part of a person or an action, how a subject begins, an address or a request id.",
    )
    since = django_filters.IsoDateTimeFilter(field_name="at", lookup_expr="gte")
    until = django_filters.IsoDateTimeFilter(field_name="at", lookup_expr="lt")
    actor_kind = django_filters.MultipleChoiceFilter(choices=AuditEvent.ActorKind.choices)
    actor_id = django_filters.CharFilter(max_length=100)
    action = django_filters.CharFilter(max_length=80)
    subject_kind = django_filters.CharFilter(max_length=40)
    subject_id = django_filters.CharFilter(max_length=300)
    address = django_filters.CharFilter(max_length=64)
    request_id = django_filters.CharFilter(max_length=64)

    class Meta:
        model = AuditEvent
        fields: list[str] = []

    def filter_search(
        self, queryset: QuerySet[AuditEvent], name: str, value: str
    ) -> QuerySet[AuditEvent]:
        return selectors.search(queryset, value)


class InTime(NewestFirst):
    """By when it was, as the indexes have it."""

    ordering = "-at"


class _Recorded(mixins.ListModelMixin):
    """A list whose reading is recorded, as taking it out by the dashboard is."""

    what: str

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        page = super().list(request, *args, **kwargs)
        # With a cursor too: one can be made up, for a walk without a beginning.
        asked = {
            key: str(value)[:100] for key, value in request.query_params.items() if key != "cursor"
        }
        export.note_hourly(Actor.of(request), self.what, {"format": "api", **asked})
        return page


class AuditEventViewSet(_Recorded, mixins.RetrieveModelMixin, Resource[AuditEvent]):
    """Every change by someone, and every reading of a secret."""

    rights = {"list": "audit.read", "retrieve": "audit.read"}
    what = "events"
    queryset = AuditEvent.objects.all()
    serializer_class = AuditEventSerializer
    filterset_class = AuditEventFilter
    pagination_class = InTime
    lookup_value_converter = "int"


class RefusedRequestFilter(django_filters.FilterSet):  # type: ignore[misc]
    """Which refusals a list holds."""

    since = django_filters.IsoDateTimeFilter(field_name="last_at", lookup_expr="gte")
    until = django_filters.IsoDateTimeFilter(field_name="first_at", lookup_expr="lt")
    actor_id = django_filters.CharFilter(max_length=100)
    action = django_filters.CharFilter(max_length=80)
    address = django_filters.CharFilter(max_length=64)

    class Meta:
        model = RefusedRequest
        fields: list[str] = []


class RefusedRequestViewSet(_Recorded, Resource[RefusedRequest]):
    """What people, tokens and strangers were refused, summed up by the hour."""

    rights = {"list": "audit.read"}
    what = "refused requests"
    queryset = RefusedRequest.objects.all()
    serializer_class = RefusedRequestSerializer
    filterset_class = RefusedRequestFilter
