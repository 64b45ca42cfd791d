"""What ABM's servers, devices, runs and ledger look like in the API, and what a client may say."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from abm import assignment, disowns, servers, state
from abm.models import (
    AbmDevice,
    Disown,
    DisownDevice,
    LedgerEntry,
    RunLine,
    Server,
    SyncRun,
    TokenUpload,
)


class StateSerializer(serializers.Serializer[state.State]):
    """How it stands with a server, and what to do about it."""

    slug = serializers.CharField(help_text="A word for programs, such as `terms_not_signed`.")
    word = serializers.CharField()
    why = serializers.CharField()
    stops = serializers.CharField(help_text="What does not work meanwhile.")
    fix = serializers.CharField(help_text="What to do.")
    since = serializers.DateTimeField(allow_null=True)


class ServerSerializer(serializers.ModelSerializer[Server]):
    """An MDM server in ABM. Its token and its keys are shown nowhere."""

    state = serializers.SerializerMethodField()
    device_count = serializers.IntegerField(read_only=True)

    class Meta:
        model = Server
        fields = [
            *(
                "id",
                "name",
                "state",
                "page_size",
                "assigning_batch",
                "device_count",
                "server_uuid",
                "server_name",
            ),
            *("org_name", "admin_id", "token_expires_at", "token_accepted_at", "account_read_at"),
            *("synced_at", "list_finished_at", "retry_at", "created_at"),
        ]
        read_only_fields = fields

    @extend_schema_field(StateSerializer)
    def get_state(self, server: Server) -> dict[str, Any]:
        return dict(StateSerializer(state.of(server)).data)


class NewServerSerializer(serializers.Serializer[Any]):
    """What a server is made with."""

    name = serializers.CharField(max_length=servers.MAX_NAME)


class ServerChangesSerializer(serializers.Serializer[Any]):
    """What of a server can be changed."""

    name = serializers.CharField(max_length=servers.MAX_NAME, required=False)
    page_size = serializers.IntegerField(min_value=1, max_value=10_000, required=False)
    assigning_batch = serializers.IntegerField(min_value=1, max_value=1_000, required=False)


class AssignmentSerializer(serializers.Serializer[assignment.Plan]):
    """What is ahead: devices that Apple is to be told of now, that wait after an answer of Apple's,
    and whose profile Apple refuses to define.
    """

    due = serializers.IntegerField()
    cooling = serializers.IntegerField()
    undefined = serializers.IntegerField()
    batches = serializers.IntegerField(help_text="In how many requests.")
    seconds = serializers.FloatField(help_text="For how long, about.")
    next_at = serializers.DateTimeField(
        allow_null=True, help_text="When the first that waits is tried again."
    )
    blocked = serializers.CharField(help_text="Why Apple is told nothing now; empty otherwise.")


class CertificateSerializer(serializers.Serializer[Any]):
    """What to upload in ABM."""

    certificate = serializers.CharField(help_text="PEM.")


class ServerTokenSerializer(serializers.Serializer[Any]):
    """A server token as ABM offers it for download."""

    token = serializers.CharField(
        max_length=1_400_000, help_text="The .p7m file's bytes in base64."
    )


class UploadSerializer(serializers.ModelSerializer[TokenUpload]):
    """What became of an uploaded token."""

    class Meta:
        model = TokenUpload
        fields = [
            *("id", "state", "sentence", "expires_at", "uploaded_at", "uploaded_by", "decided_at")
        ]
        read_only_fields = fields


class SyncSerializer(serializers.Serializer[Any]):
    """What a sync is asked for with."""

    full = serializers.BooleanField(
        default=False, help_text="Read the whole list, and not only what changed."
    )


class RunSerializer(serializers.ModelSerializer[SyncRun]):
    """A run of the sync. The counts grow while it goes on."""

    server = serializers.IntegerField(source="server_id", read_only=True)

    class Meta:
        model = SyncRun
        fields = [
            *("id", "server", "full", "state", "asked_by", "asked_at", "started_at", "moved_at"),
            *("finished_at", "doing", "pages", "devices", "added", "changed", "removed", "ignored"),
            *("errors", "problem", "sentence"),
        ]
        read_only_fields = fields


class RunLineSerializer(serializers.ModelSerializer[RunLine]):
    """A line of a run's log."""

    class Meta:
        model = RunLine
        fields = ["at", "level", "sentence"]
        read_only_fields = fields


class RunWithLogSerializer(RunSerializer):
    """A run with its log: the first 1,000 lines."""

    log = serializers.SerializerMethodField()

    class Meta(RunSerializer.Meta):
        fields = [*RunSerializer.Meta.fields, "log"]
        read_only_fields = fields

    @extend_schema_field(RunLineSerializer(many=True))
    def get_log(self, run: SyncRun) -> list[dict[str, Any]]:
        lines = run.lines.order_by("pk")[:1_000]
        return list(RunLineSerializer(lines, many=True).data)


class AbmDeviceSerializer(serializers.ModelSerializer[AbmDevice]):
    """A serial number on a server's list, as Apple describes it; `more` is what else Apple says."""

    server = serializers.IntegerField(source="server_id", read_only=True)
    device = serializers.IntegerField(
        source="device_id", read_only=True, allow_null=True, help_text="Its id under /devices/."
    )

    class Meta:
        model = AbmDevice
        fields = [
            *("id", "serial_number", "server", "device", "model", "description", "color"),
            *("asset_tag", "device_family", "os", "profile_status", "profile_uuid"),
            *("profile_assign_time", "profile_push_time", "device_assigned_by"),
            *("device_assigned_date", "mdm_migration_deadline", "more", "op_date", "added_at"),
            *("changed_at", "removed_at", "doubtful"),
        ]
        read_only_fields = fields


class LedgerSerializer(serializers.ModelSerializer[LedgerEntry]):
    """What Apple sent about a serial number, and what was decided."""

    server = serializers.IntegerField(source="server_id", read_only=True)
    run = serializers.IntegerField(source="run_id", read_only=True, allow_null=True)

    class Meta:
        model = LedgerEntry
        fields = [
            *("id", "serial_number", "server", "run", "page", "at", "source", "op_type"),
            *("op_date", "decision", "changes"),
        ]
        read_only_fields = fields


class NewDisownSerializer(serializers.Serializer[Any]):
    """Which devices Apple shall take out of the organization. Nobody can undo it."""

    serial_numbers = serializers.ListField(
        child=serializers.CharField(max_length=64), allow_empty=False, max_length=50_000
    )
    confirmation = serializers.IntegerField(help_text="How many serial numbers these are.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        count = len(set(attrs["serial_numbers"]))
        if attrs["confirmation"] != count:
            raise serializers.ValidationError(
                {"confirmation": [f"These are {count:,} serial numbers. Nothing was disowned."]}
            )
        return attrs


class DisownDeviceSerializer(serializers.ModelSerializer[DisownDevice]):
    """What became of one device."""

    disown = serializers.IntegerField(source="disown_id", read_only=True)
    server = serializers.IntegerField(source="server_id", read_only=True)

    class Meta:
        model = DisownDevice
        fields = [
            *("id", "disown", "serial_number", "server", "state", "sentence"),
            *("asked_at", "settled_at"),
        ]
        read_only_fields = fields


class DisownSerializer(serializers.ModelSerializer[Disown]):
    """Someone's wish to disown devices."""

    class Meta:
        model = Disown
        fields = ["id", "asked_by", "asked_at"]
        read_only_fields = fields


class DisownWithCountsSerializer(DisownSerializer):
    """Someone's wish to disown devices, and how far it has come."""

    counts = serializers.SerializerMethodField(
        help_text="How many devices are in which state. It is over when none is Waiting or Asked."
    )

    class Meta(DisownSerializer.Meta):
        fields = [*DisownSerializer.Meta.fields, "counts"]
        read_only_fields = fields

    @extend_schema_field(serializers.DictField(child=serializers.IntegerField()))
    def get_counts(self, disown: Disown) -> dict[str, int]:
        return disowns.counts(disown)


class WantedSerialsSerializer(serializers.Serializer[Any]):
    """Serial numbers to look up."""

    serial_numbers = serializers.ListField(
        child=serializers.CharField(max_length=64), allow_empty=False, max_length=100_000
    )


class KnownSerialsSerializer(serializers.Serializer[Any]):
    """What is known of them."""

    listed = serializers.ListField(child=serializers.CharField())
    removed = serializers.ListField(
        child=serializers.CharField(), help_text="Listed once, and not any more."
    )
    unknown = serializers.ListField(child=serializers.CharField())
