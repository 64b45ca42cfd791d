"""How it stands with the server, in the API: what the page Health shows; and the backups that
someone's own job tells of.
"""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from mdm.api.resources import Resource
from mdm.audit.actor import Actor
from mdm.health import backups, probes, things
from mdm.health.models import Backup

THING_STATES = ["good", "busy", "warning", "bad", "off"]
PROBE_STATES = ["new", "busy", "good", "bad", "dismissed"]
HEALTH_STATES = ["good", "warning", "bad"]


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
