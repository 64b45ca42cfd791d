"""Enrollment links, arrivals, Apple's certificates and the minimum OS in the REST API, and what
this app lets an enrollment do. The page behind a link is in `enrollment/views.py`.
"""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from commands import queue
from commands.queue import Enqueued
from enrollment import apple, awaiting, links, minimum, removal
from enrollment.errors import BadLink, BadMinimum, Closed
from enrollment.models import Arrival, EnrollmentLink, Holding, MinimumOS, RefusedArrival
from enrollment.serializers import (
    AppleCertificateSerializer,
    ArrivalSerializer,
    AskedSerializer,
    HoldingSerializer,
    LinkAddressSerializer,
    LinkSerializer,
    MinimumOSSerializer,
    NewLinkSerializer,
    ReadingSerializer,
    RefusedArrivalSerializer,
    ShownLinkSerializer,
)
from mdm.api import enrollments
from mdm.api.errors import Conflict
from mdm.api.resources import Resource
from mdm.api.schema import asking
from mdm.audit.actor import Actor
from mdm.audit.record import NoReason
from mdm.models import Enrollment


class EnrollmentViewSet(enrollments.EnrollmentViewSet):
    """Relations of devices, and of users on them, with this server."""

    rights = {
        **enrollments.EnrollmentViewSet.rights,
        "configured": "device.read",
        "post configured": "enrollment.configured",
        "remove_management": "enrollment.release",
    }

    @extend_schema(methods=["get"], responses=HoldingSerializer)
    @extend_schema(methods=["post"], request=None, responses={202: AskedSerializer})
    @action(detail=True, methods=["get", "post"])
    def configured(self, request: Request, **kwargs: Any) -> Response:
        """How long the device waits in Setup Assistant; or let it go on now (DeviceConfigured)."""
        found = self.get_object()
        if request.method == "POST":
            return _asked(found, awaiting.release(Actor.of(request), found))
        holding = Holding.objects.filter(pk=found.pk).first()
        if holding is None or not found.awaiting_configuration:
            raise NotFound("This device does not wait in Setup Assistant.")
        return Response(HoldingSerializer(holding).data)

    @extend_schema(request=None, responses={202: AskedSerializer})
    @action(detail=True, methods=["post"], url_path="remove-management")
    def remove_management(self, request: Request, **kwargs: Any) -> Response:
        """Ask the device to leave management: it removes its enrollment profile, and with that what
        came by it.
        """
        found = self.get_object()
        return _asked(found, removal.ask(Actor.of(request), found))


class LinkViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, Resource[EnrollmentLink]):
    """Links that let people enroll a device."""

    rights = {
        "list": "server.read",
        "retrieve": "server.read",
        "create": "link.create",
        "address": "link.create",
        "revoke": "link.revoke",
    }
    readings = frozenset({"address"})
    queryset = EnrollmentLink.objects.defer("sealed_token", "token_sha256")
    serializer_class = LinkSerializer
    filter_backends = ()
    lookup_value_converter = "int"

    @extend_schema(
        request=NewLinkSerializer,
        responses={201: ShownLinkSerializer},
        examples=[
            asking(
                "For a class",
                name="Class 7b",
                max_uses=30,
                expires_at="2199-12-24T18:00:00Z",
            ),
            asking("For one device", name="Ada's iPhone", serial_number="C02XK1ABJG5H"),
        ],
    )
    def create(self, request: Request, **kwargs: Any) -> Response:
        """Make a link. The answer shows its address; lists do not."""
        wanted = NewLinkSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        try:
            link = links.create(Actor.of(request), **wanted.validated_data)
        except BadLink as error:
            raise ValidationError({error.field: [str(error)]}) from None
        shown = {"url": links.url(link), **LinkSerializer(link).data}
        return Response(
            shown, status=status.HTTP_201_CREATED, headers={"Cache-Control": "no-store"}
        )

    @extend_schema(request=ReadingSerializer, responses=LinkAddressSerializer)
    @action(detail=True, methods=["post"])
    def address(self, request: Request, **kwargs: Any) -> Response:
        """The address of an open link, for who says what for; the audit log keeps it."""
        wanted = ReadingSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        link = EnrollmentLink.objects.get(pk=self.get_object().pk)
        try:
            url = links.read_address(Actor.of(request), link, wanted.validated_data["reason"])
        except NoReason as missing:
            raise ValidationError({"reason": [str(missing)]}) from None
        except Closed as closed:
            raise Conflict(str(closed)) from None
        return Response({"url": url}, headers={"Cache-Control": "no-store"})

    @extend_schema(request=None, responses=LinkSerializer)
    @action(detail=True, methods=["post"])
    def revoke(self, request: Request, **kwargs: Any) -> Response:
        """Close the link at once, also to those who already hold its profile."""
        return Response(LinkSerializer(links.revoke(Actor.of(request), self.get_object())).data)


class ArrivalFilter(django_filters.FilterSet):  # type: ignore[misc]
    """Which arrivals a list holds."""

    serial_number = django_filters.CharFilter(max_length=64)
    flag = django_filters.ChoiceFilter(choices=Arrival.Flag.choices, method="filter_flag")

    class Meta:
        model = Arrival
        fields: list[str] = []

    def filter_flag(self, queryset: QuerySet[Arrival], name: str, value: str) -> QuerySet[Arrival]:
        return queryset.filter(flags__contains=[value])


class ArrivalViewSet(mixins.ListModelMixin, Resource[Arrival]):
    """Devices that came by Automated Device Enrollment and were let in, newest first."""

    rights = {
        "list": "server.read",
    }
    queryset = Arrival.objects.select_related("version__profile")
    serializer_class = ArrivalSerializer
    filterset_class = ArrivalFilter


class RefusedArrivalFilter(django_filters.FilterSet):  # type: ignore[misc]
    """Which cases a list holds."""

    serial_number = django_filters.CharFilter(max_length=64)
    reason = django_filters.CharFilter(max_length=40)

    class Meta:
        model = RefusedArrival
        fields: list[str] = []


class RefusedArrivalViewSet(mixins.ListModelMixin, Resource[RefusedArrival]):
    """Devices, or whoever it was, that asked to enroll automatically and were refused, and why."""

    rights = {
        "list": "server.read",
    }
    queryset = RefusedArrival.objects.all()
    serializer_class = RefusedArrivalSerializer
    filterset_class = RefusedArrivalFilter


class MinimumOSViewSet(mixins.ListModelMixin, Resource[MinimumOS]):
    """The oldest OS version that devices of each platform may enroll with."""

    rights = {
        "list": "server.read",
        "create": "minimum_os.set",
    }
    queryset = MinimumOS.objects.order_by("pk")
    serializer_class = MinimumOSSerializer
    filter_backends = ()
    pagination_class = None

    @extend_schema(
        request=MinimumOSSerializer,
        responses={200: MinimumOSSerializer(many=True)},
        examples=[asking("iOS 17.5 and newer", platform="iOS", version="17.5")],
    )
    def create(self, request: Request, **kwargs: Any) -> Response:
        """Set the minimum of a platform, or take it away (""). Answers with all."""
        wanted = MinimumOSSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        try:
            minimum.set_minimum(Actor.of(request), **wanted.validated_data)
        except BadMinimum as error:
            raise ValidationError({"version": [str(error)]}) from None
        return Response(MinimumOSSerializer(self.get_queryset(), many=True).data)


class AppleCertificateViewSet(Resource[Any]):
    """Apple's certificates: without the roots no device can enroll by Automated Device
    Enrollment.
    """

    rights = {
        "list": "server.read",
        "fetch": "apple.trust",
    }
    serializer_class = AppleCertificateSerializer
    pagination_class = None
    filter_backends = ()

    @extend_schema(responses=AppleCertificateSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Those that can be accepted, and whether they are here."""
        rows = [
            {
                "name": each.name,
                "sha256": each.sha256,
                "root": each.root,
                "fetched": bool(each.path),
                "accepted": here,
            }
            for each, here in apple.known()
        ]
        return Response(self.get_serializer(rows, many=True).data)

    @extend_schema(request=None, responses={202: None})
    @action(detail=False, methods=["post"])
    def fetch(self, request: Request) -> Response:
        """Have a worker fetch from Apple's site what is not here."""
        apple.ask(Actor.of(request))
        return Response(status=status.HTTP_202_ACCEPTED)


def _asked(enrollment: Enrollment, sent: Enqueued) -> Response:
    command = queue.asking(sent, enrollment)
    return Response(AskedSerializer(command).data, status=status.HTTP_202_ACCEPTED)
