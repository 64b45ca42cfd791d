"""Apple Business Manager in the REST API: servers, their devices, runs of the sync, the ledger, and
disowning.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import django_filters
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from abm import assignment, disowns, known, runs, servers, tokens
from abm.models import AbmDevice, Disown, DisownDevice, KeyPair, LedgerEntry, Server, SyncRun
from abm.serializers import (
    AbmDeviceSerializer,
    AssignmentSerializer,
    CertificateSerializer,
    DisownDeviceSerializer,
    DisownSerializer,
    DisownWithCountsSerializer,
    KnownSerialsSerializer,
    LedgerSerializer,
    NewDisownSerializer,
    NewServerSerializer,
    RunSerializer,
    RunWithLogSerializer,
    ServerChangesSerializer,
    ServerSerializer,
    ServerTokenSerializer,
    SyncSerializer,
    UploadSerializer,
    WantedSerialsSerializer,
)
from abm.tokens import ServerTokenError, TokenRefused
from mdm.api.answers import answer_with
from mdm.api.errors import Conflict
from mdm.api.filters import IdFilter
from mdm.api.resources import Resource
from mdm.api.schema import asking
from mdm.audit.actor import Actor

answer_with(TokenRefused, Conflict)
answer_with(ServerTokenError, Conflict)
answer_with(runs.CannotSync, Conflict)
answer_with(disowns.CannotDisown, Conflict)


class ServerViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, Resource[Server]):
    """Our MDM servers in Apple Business Manager."""

    rights = {
        "list": "server.read",
        "retrieve": "server.read",
        "create": "abm.connect",
        "partial_update": "abm.connect",
        "destroy": "abm.connect",
        "certificate": "abm.connect",
        "new_key": "abm.connect",
        "token": "server.read",
        "post token": "abm.connect",
        "check_token": "abm.sync",
        "sync": "abm.sync",
        "assignment": "server.read",
        "pause_assignment": "abm.assign.pause",
        "resume_assignment": "abm.assign.pause",
    }
    queryset = Server.objects.filter(disconnected_at=None)
    serializer_class = ServerSerializer
    filter_backends = ()
    lookup_value_converter = "int"

    def get_queryset(self) -> QuerySet[Server]:
        return servers.with_counts()

    @extend_schema(
        request=NewServerSerializer,
        responses={201: ServerSerializer},
        examples=[asking("A server for the school", name="School of music")],
    )
    def create(self, request: Request, **kwargs: Any) -> Response:
        """Generate a token: make a key pair whose certificate is then uploaded in ABM."""
        wanted = NewServerSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        try:
            made = servers.create(Actor.of(request), wanted.validated_data["name"])
        except servers.BadServer as error:
            raise ValidationError({"name": [str(error)]}) from None
        return self._now(made, status.HTTP_201_CREATED)

    @extend_schema(request=ServerChangesSerializer, responses=ServerSerializer)
    def partial_update(self, request: Request, **kwargs: Any) -> Response:
        """Rename it, or set how many devices a page of the sync, or a request of the assignment,
        has.
        """
        wanted = ServerChangesSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        found = self.get_object()
        try:
            servers.change(Actor.of(request), found, **wanted.validated_data)
        except servers.BadServer as error:
            raise ValidationError({"non_field_errors": [str(error)]}) from None
        return self._now(found)

    @extend_schema(request=None, responses={status.HTTP_204_NO_CONTENT: None})
    def destroy(self, request: Request, **kwargs: Any) -> Response:
        """Disconnect it: its token is forgotten, its devices leave the list of ABM devices."""
        servers.disconnect(Actor.of(request), self.get_object())
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(responses=CertificateSerializer)
    @action(detail=True)
    def certificate(self, request: Request, **kwargs: Any) -> Response:
        """The certificate to upload in ABM."""
        try:
            pair = servers.current_key_pair(self.get_object())
        except KeyPair.DoesNotExist:
            raise NotFound("This server has no key pair: make one (new-key).") from None
        return Response({"certificate": pair.certificate})

    @extend_schema(request=None, responses={201: CertificateSerializer})
    @action(detail=True, methods=["post"], url_path="new-key")
    def new_key(self, request: Request, **kwargs: Any) -> Response:
        """Make another key pair; tokens for the earlier ones are still read."""
        pair = servers.new_key_pair(Actor.of(request), self.get_object())
        return Response({"certificate": pair.certificate}, status=status.HTTP_201_CREATED)

    @extend_schema(
        methods=["post"], request=ServerTokenSerializer, responses={202: UploadSerializer}
    )
    @extend_schema(methods=["get"], responses=UploadSerializer)
    @action(detail=True, methods=["get", "post"])
    def token(self, request: Request, **kwargs: Any) -> Response:
        """Upload a server token, and see what became of the last one that was uploaded. It is put
        to use once Apple has accepted it; until then the one before it stays in use.
        """
        found = self.get_object()
        if request.method == "POST":
            wanted = ServerTokenSerializer(data=request.data)
            wanted.is_valid(raise_exception=True)
            kept = tokens.upload(Actor.of(request), found, _decoded(wanted.validated_data["token"]))
            return Response(UploadSerializer(kept).data, status=status.HTTP_202_ACCEPTED)
        latest = found.uploads.order_by("-pk").first()
        if latest is None:
            raise NotFound("No token was uploaded for this server.")
        return Response(UploadSerializer(latest).data)

    @extend_schema(request=None, responses={202: UploadSerializer})
    @action(detail=True, methods=["post"], url_path="token/check")
    def check_token(self, request: Request, **kwargs: Any) -> Response:
        """Ask Apple again about an uploaded token that waits for it."""
        waiting = tokens.check_again(Actor.of(request), self.get_object())
        if waiting is None:
            raise Conflict("No token waits to be checked: upload one.")
        return Response(UploadSerializer(waiting).data, status=status.HTTP_202_ACCEPTED)

    @extend_schema(request=SyncSerializer, responses={202: RunSerializer})
    @action(detail=True, methods=["post"])
    def sync(self, request: Request, **kwargs: Any) -> Response:
        """Sync now: start a run, or join the one that is under way."""
        wanted = SyncSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        run, _ = runs.ask(Actor.of(request), self.get_object(), **wanted.validated_data)
        return Response(RunSerializer(run).data, status=status.HTTP_202_ACCEPTED)

    @extend_schema(responses=AssignmentSerializer)
    @action(detail=True)
    def assignment(self, request: Request, **kwargs: Any) -> Response:
        """What Apple is still to be told of the profiles that devices should have."""
        return self._plan(self.get_object())

    @extend_schema(request=None, responses=AssignmentSerializer)
    @action(detail=True, methods=["post"], url_path="assignment/pause")
    def pause_assignment(self, request: Request, **kwargs: Any) -> Response:
        """Tell Apple nothing more until someone resumes."""
        found = self.get_object()
        assignment.pause(Actor.of(request), found)
        return self._plan(found)

    @extend_schema(request=None, responses=AssignmentSerializer)
    @action(detail=True, methods=["post"], url_path="assignment/resume")
    def resume_assignment(self, request: Request, **kwargs: Any) -> Response:
        """Go on telling Apple where it was paused."""
        found = self.get_object()
        assignment.resume(Actor.of(request), found)
        return self._plan(found)

    def _plan(self, found: Server) -> Response:
        return Response(AssignmentSerializer(assignment.plan(found)).data)

    def _now(self, found: Server, code: int = status.HTTP_200_OK) -> Response:
        return Response(ServerSerializer(self.get_queryset().get(pk=found.pk)).data, status=code)


class RunFilter(django_filters.FilterSet):  # type: ignore[misc]
    """Which runs a list holds."""

    server = IdFilter("server_id")
    state = django_filters.MultipleChoiceFilter(choices=SyncRun.State.choices)
    full = django_filters.BooleanFilter()

    class Meta:
        model = SyncRun
        fields: list[str] = []


class RunViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, Resource[SyncRun]):
    """Runs of the sync, newest first."""

    rights = {
        "list": "server.read",
        "retrieve": "server.read",
    }
    queryset = SyncRun.objects.all()
    filterset_class = RunFilter
    lookup_value_converter = "int"

    def get_serializer_class(self) -> type[RunSerializer]:
        return RunSerializer if self.action == "list" else RunWithLogSerializer


class AbmDeviceFilter(django_filters.FilterSet):  # type: ignore[misc]
    """Which devices a list holds."""

    server = IdFilter("server_id")
    serial_number = django_filters.CharFilter(max_length=64)
    device_family = django_filters.CharFilter(max_length=64)
    os = django_filters.CharFilter(max_length=64)
    profile_status = django_filters.CharFilter(max_length=64)
    removed = django_filters.BooleanFilter(
        field_name="removed_at",
        lookup_expr="isnull",
        exclude=True,
        label="Devices that left the list alone, or none of them.",
    )
    changed_after = django_filters.IsoDateTimeFilter(field_name="changed_at", lookup_expr="gte")

    class Meta:
        model = AbmDevice
        fields: list[str] = []


class AbmDeviceViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, Resource[AbmDevice]):
    """Serial numbers that ABM lists for our servers, or once did."""

    rights = {
        "list": "server.read",
        "retrieve": "server.read",
        "look_up": "server.read",
    }
    queryset = AbmDevice.objects.all()
    serializer_class = AbmDeviceSerializer
    filterset_class = AbmDeviceFilter
    lookup_value_converter = "int"

    @extend_schema(
        request=WantedSerialsSerializer,
        responses=KnownSerialsSerializer,
        examples=[asking("Two of a delivery", serial_numbers=["C02XK1ABJG5H", "C02XK1ABJG5J"])],
    )
    @action(detail=False, methods=["post"], url_path="look-up")
    def look_up(self, request: Request) -> Response:
        """Which of many serial numbers ABM lists for our servers, once did, or never did."""
        wanted = WantedSerialsSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        # Each once, in their order.
        found = known.look_up(list(dict.fromkeys(wanted.validated_data["serial_numbers"])))
        return Response(KnownSerialsSerializer(found).data)


class DisownViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, Resource[Disown]):
    """Devices that someone had Apple take out of the organization, newest first."""

    rights = {
        "list": "server.read",
        "retrieve": "server.read",
        "create": "abm.disown",
        "stop": "abm.disown",
    }
    queryset = Disown.objects.all()
    filter_backends = ()
    lookup_value_converter = "int"

    def get_serializer_class(self) -> type[DisownSerializer]:
        return DisownSerializer if self.action == "list" else DisownWithCountsSerializer

    @extend_schema(request=NewDisownSerializer, responses={202: DisownWithCountsSerializer})
    def create(self, request: Request, **kwargs: Any) -> Response:
        """Have Apple disown devices that are listed now. Nobody can undo it; say how many they are
        as `confirmation`.
        """
        wanted = NewDisownSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        ids = _listed(set(wanted.validated_data["serial_numbers"]))
        made = disowns.ask(Actor.of(request), ids)
        return Response(DisownWithCountsSerializer(made).data, status=status.HTTP_202_ACCEPTED)

    @extend_schema(request=None, responses=DisownWithCountsSerializer)
    @action(detail=True, methods=["post"])
    def stop(self, request: Request, **kwargs: Any) -> Response:
        """Leave those alone about which Apple was not asked yet."""
        found = self.get_object()
        disowns.stop(Actor.of(request), found)
        return Response(DisownWithCountsSerializer(found).data)


class DisownDeviceFilter(django_filters.FilterSet):  # type: ignore[misc]
    """Which of the devices a list holds."""

    disown = IdFilter("disown_id")
    state = django_filters.MultipleChoiceFilter(choices=DisownDevice.State.choices)
    serial_number = django_filters.CharFilter(max_length=64)

    class Meta:
        model = DisownDevice
        fields: list[str] = []


class DisownDeviceViewSet(mixins.ListModelMixin, Resource[DisownDevice]):
    """What became of each device that someone had disowned."""

    rights = {
        "list": "server.read",
    }
    queryset = DisownDevice.objects.all()
    serializer_class = DisownDeviceSerializer
    filterset_class = DisownDeviceFilter


class LedgerFilter(django_filters.FilterSet):  # type: ignore[misc]
    """Whose ledger to read."""

    serial_number = django_filters.CharFilter(max_length=64)
    run = IdFilter("run_id")

    class Meta:
        model = LedgerEntry
        fields: list[str] = []


class LedgerViewSet(mixins.ListModelMixin, Resource[LedgerEntry]):
    """Every operation that Apple sent and every decision that was taken, newest first."""

    rights = {
        "list": "server.read",
    }
    queryset = LedgerEntry.objects.all()
    serializer_class = LedgerSerializer
    filterset_class = LedgerFilter


def _listed(serials: set[str]) -> list[int]:
    """The ids of the devices that are listed now. Raises ValidationError for any that is not."""
    rows = AbmDevice.objects.filter(current=True, removed_at=None).extra(
        where=["abm_abmdevice.serial_number = ANY(%s)"], params=[list(serials)]
    )
    found = dict(rows.order_by().values_list("serial_number", "pk"))
    unknown = sorted(serials - set(found))
    if unknown:
        named = ", ".join(unknown[:10]) + (" and others" if len(unknown) > 10 else "")
        said = f"{len(unknown):,} of them are not in Apple Business Manager now: {named}."
        raise ValidationError({"serial_numbers": [said]})
    return list(found.values())


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValidationError({"token": ["Give the file's bytes in base64."]}) from None
