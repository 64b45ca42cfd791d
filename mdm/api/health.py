"""How it stands with the server, in the API: what the page Health shows; and the backups that
someone's own job tells of.
"""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import mixins, serializers, status
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from mdm.api.resources import Resource
from mdm.api.schema import asking
from mdm.audit.actor import Actor
from mdm.health import backups, probes, things
from mdm.health.models import Backup

THING_STATES = ["good", "busy", "warning", "bad", "off"]
PROBE_STATES = ["new", "busy", "good", "bad", "dismissed"]
HEALTH_STATES = ["good", "warning", "bad"]
_NAME = OpenApiParameter("name", str, OpenApiParameter.PATH)


class ThingSerializer(serializers.Serializer[Any]):
    """A part of the server, how it stands with it, and by what evidence."""

    group = serializers.CharField()
    name = serializers.CharField()
    state = serializers.ChoiceField(
        source="tone",
        choices=THING_STATES,
        help_text="off: not set up, or not known.",
    )
    word = serializers.CharField()
    evidence = serializers.CharField()
    since = serializers.DateTimeField(allow_null=True)
    fix = serializers.CharField(help_text="What to do; empty where nothing is.")


class ProbeSerializer(serializers.Serializer[Any]):
    """What a worker tried for real, and what it found."""

    name = serializers.CharField(source="probe.name")
    label = serializers.CharField(source="probe.label")  # type: ignore[assignment]
    state = serializers.ChoiceField(choices=PROBE_STATES)
    found = serializers.CharField(source="result.found")
    checked_at = serializers.DateTimeField(source="result.checked_at", allow_null=True)
    since = serializers.DateTimeField(source="result.since", allow_null=True)
    ends_at = serializers.DateTimeField(
        source="result.ends_at",
        allow_null=True,
        help_text="When something that was seen ends, such as the TLS certificate.",
    )
    dismissed_because = serializers.CharField(source="result.dismissed_because")


class HealthSerializer(serializers.Serializer[Any]):
    """All of it; `state` is the worst of the parts."""

    state = serializers.ChoiceField(choices=HEALTH_STATES)
    at = serializers.DateTimeField()
    things = ThingSerializer(many=True)
    probes = ProbeSerializer(many=True)


class HealthView(APIView):
    """Whether everything works."""

    rights = {"get": "server.read"}

    @extend_schema(responses=HealthSerializer)
    def get(self, request: Request) -> Response:
        """Each part of the server, and what was tried. Nothing waits for Apple."""
        found = things.everything()
        tones = {thing.tone for thing in found}
        worst = next((tone for tone in ("bad", "warning") if tone in tones), "good")
        told = {"state": worst, "at": timezone.now(), "things": found, "probes": probes.lines()}
        return Response(HealthSerializer(told).data)


class DismissalSerializer(serializers.Serializer[Any]):
    """Why a step need not be done."""

    because = serializers.CharField(max_length=probes.LONGEST_REASON)


class HealthCheckViewSet(Resource[Any]):
    """What is tried for real, by a worker: the steps of the first-run checklist."""

    rights = {
        "list": "server.read",
        "retrieve": "server.read",
        "check": "health.check",
        "dismiss": "health.dismiss",
        "restore": "health.dismiss",
    }
    serializer_class = ProbeSerializer
    pagination_class = None
    filter_backends = ()
    lookup_field = "name"
    lookup_value_converter = "slug"

    def get_object(self) -> Any:
        for line in probes.lines():
            if line.probe.name == self.kwargs["name"]:
                return line
        raise NotFound

    def hold(self, row: Any) -> None:
        probes.hold(row.probe.name)

    @extend_schema(responses=ProbeSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Each of them with what was found, in the order in which a new server is set up."""
        return Response(self.get_serializer(probes.lines(), many=True).data)

    @extend_schema(responses=ProbeSerializer, parameters=[_NAME])
    def retrieve(self, request: Request, **kwargs: Any) -> Response:
        """One of them with what was found."""
        return self._now()

    @extend_schema(request=None, responses={202: ProbeSerializer}, parameters=[_NAME])
    @action(detail=True, methods=["post"])
    def check(self, request: Request, **kwargs: Any) -> Response:
        """Have a worker try it now."""
        probes.ask(Actor.of(request), self.get_object().probe.name)
        return self._now(status.HTTP_202_ACCEPTED)

    @extend_schema(
        request=DismissalSerializer,
        responses=ProbeSerializer,
        parameters=[_NAME],
        examples=[asking("Done otherwise", because="We take snapshots of the volume.")],
    )
    @action(detail=True, methods=["post"])
    def dismiss(self, request: Request, **kwargs: Any) -> Response:
        """Take the step off the checklist: this is done otherwise, or need not be."""
        wanted = DismissalSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        name = self.get_object().probe.name
        try:
            probes.dismiss(Actor.of(request), name, wanted.validated_data["because"])
        except probes.NoReason as missing:
            raise serializers.ValidationError({"because": [str(missing)]}) from None
        return self._now()

    @extend_schema(request=None, responses=ProbeSerializer, parameters=[_NAME])
    @action(detail=True, methods=["post"])
    def restore(self, request: Request, **kwargs: Any) -> Response:
        """Put a dismissed step back."""
        probes.restore(Actor.of(request), self.get_object().probe.name)
        return self._now()

    def _now(self, code: int = status.HTTP_200_OK) -> Response:
        return Response(self.get_serializer(self.get_object()).data, status=code)


class BackupSerializer(serializers.ModelSerializer[Backup]):
    """A backup of the database that is known of."""

    class Meta:
        model = Backup
        fields = ["id", "at", "how", "by", "size"]
        read_only_fields = ["id", "at", "by", "size"]
        extra_kwargs = {
            "how": {"help_text": "How it was taken, such as “snapshot of the volume”."},
            "size": {"help_text": "In bytes, where `manage.py backup` took it."},
        }


class BackupViewSet(mixins.ListModelMixin, Resource[Backup]):
    """Backups of the database that this server knows of."""

    rights = {"list": "server.read", "create": "backup.note"}
    queryset = Backup.objects.all()
    serializer_class = BackupSerializer
    filter_backends = ()

    @extend_schema(responses={201: BackupSerializer})
    def create(self, request: Request, **kwargs: Any) -> Response:
        """Tell that the database was just backed up."""
        wanted = self.get_serializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        try:
            noted = backups.note(Actor.of(request), wanted.validated_data["how"])
        except backups.BackupFailed as refused:
            raise serializers.ValidationError({"how": str(refused)}) from None
        return Response(self.get_serializer(noted).data, status=status.HTTP_201_CREATED)
