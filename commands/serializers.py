"""What commands look like in the API, and what a client may say to send one."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from commands.catalog import Effect
from commands.models import Approval, Command, Pause, QueueEntry
from commands.receivers import NameKind

MAX_NAMES = 100_000
NAME_KINDS = [(kind.value, kind.value) for kind in NameKind]


class CommandSerializer(serializers.ModelSerializer[Command]):
    """What someone asked for, once, and how far it has come."""

    parameters = serializers.JSONField(read_only=True, help_text="Secrets are masked.")
    states = serializers.SerializerMethodField(help_text="How many entries are in each state.")
    held = serializers.BooleanField(
        read_only=True, help_text="Whether any entry is kept back: for approval, a delay, a pause."
    )
    approval = serializers.SerializerMethodField(
        help_text="How it stands with the approval of a second person; null where none is needed."
    )

    class Meta:
        model = Command
        fields = [
            "uuid",
            "request_type",
            "parameters",
            "destructive",
            "asked_by",
            "created_at",
            "held",
            "starts_at",
            "approval",
            "states",
        ]
        read_only_fields = fields

    @extend_schema_field(serializers.ChoiceField(choices=Approval.State.choices, allow_null=True))
    def get_approval(self, command: Command) -> str | None:
        approval = getattr(command, "approval", None)
        return approval.state if approval else None

    @extend_schema_field({"type": "object", "additionalProperties": {"type": "integer"}})
    def get_states(self, command: Command) -> dict[str, int]:
        counts: dict[int, dict[str, int]] = self.context["states"]
        return counts.get(command.pk, {})


class EntrySerializer(serializers.ModelSerializer[QueueEntry]):
    """A command for one enrollment."""

    command = serializers.UUIDField(source="command_uuid", read_only=True)
    request_type = serializers.CharField(source="command.request_type", read_only=True)
    device = serializers.IntegerField(source="enrollment.device_id", read_only=True)
    serial_number = serializers.CharField(
        source="enrollment.device.serial_number", read_only=True, allow_null=True
    )

    class Meta:
        model = QueueEntry
        fields = [
            "id",
            "command",
            "request_type",
            "enrollment",
            "device",
            "serial_number",
            "state",
            "created_at",
            "expires_at",
            "sent_at",
            "deliveries",
            "not_now_at",
            "not_now_count",
            "finished_at",
            "ended_because",
        ]
        read_only_fields = fields


class RawSerializer(serializers.Serializer[Any]):
    """A stored message as an XML property list, its secrets masked."""

    plist = serializers.CharField()


class NamesField(serializers.Field[list[Any], Any, list[Any], Any]):
    """A list of receivers. What is wrong with one of them is told of that one, not of the list."""

    default_error_messages = {
        "not_a_list": "This must be a list.",
        "max_length": "At most {limit:,} names can be given.",
    }

    def to_internal_value(self, data: Any) -> list[Any]:
        if not isinstance(data, list):
            self.fail("not_a_list")
        if len(data) > MAX_NAMES:
            self.fail("max_length", limit=MAX_NAMES)
        return data


@extend_schema_field(
    {"type": "array", "items": {"type": "integer", "format": "int64"}, "maxItems": MAX_NAMES}
)
class IdsField(NamesField):
    """Receivers by id."""


@extend_schema_field({"type": "array", "items": {"type": "string"}, "maxItems": MAX_NAMES})
class TextsField(NamesField):
    """Receivers by a text that identifies them."""


class NewCommandSerializer(serializers.Serializer[Any]):
    """What is to be sent, and to whom."""

    request_type = serializers.CharField(
        max_length=60, help_text="One of /api/v1/command-types/, such as DeviceInformation."
    )
    parameters = serializers.JSONField(
        required=False,
        default=dict,
        help_text="As the command type describes them; data is base64.",
    )
    enrollments = IdsField(required=False, help_text="By the enrollment's id.")
    devices = IdsField(required=False, help_text="By the device's id.")
    serial_numbers = TextsField(required=False, help_text="By serial number.")
    udids = TextsField(required=False, help_text="By UDID.")
    expires_in_seconds = serializers.IntegerField(
        required=False,
        min_value=60,
        max_value=90 * 24 * 3600,
        help_text="How long the command waits for a device before it is given up.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not any(attrs.get(name) for name in RECEIVER_FIELDS.values()):
            raise serializers.ValidationError(
                "Say who the command is for: enrollments, devices, serial_numbers or udids.",
                code="required",
            )
        return attrs


RECEIVER_FIELDS = {
    NameKind.ENROLLMENT: "enrollments",
    NameKind.DEVICE: "devices",
    NameKind.SERIAL_NUMBER: "serial_numbers",
    NameKind.UDID: "udids",
}


class RefusedSerializer(serializers.Serializer[Any]):
    """A receiver that does not get the command, as the client called it, and why."""

    kind = serializers.ChoiceField(choices=NAME_KINDS)
    name = serializers.CharField()
    reason = serializers.CharField()


class UnableSerializer(serializers.Serializer[Any]):
    """Why some cannot take the command."""

    reason = serializers.CharField()
    count = serializers.IntegerField()


class VerdictSerializer(serializers.Serializer[Any]):
    """What would come of sending a command."""

    able = serializers.IntegerField(help_text="How many would get it.")
    unable = UnableSerializer(many=True, help_text="The most frequent reason first.")
    held = serializers.CharField(
        help_text="What it would wait for before it goes out, in a sentence; empty for nothing."
    )


class SentSerializer(serializers.Serializer[Any]):
    """What became of a request to send a command."""

    command = CommandSerializer()
    queued = serializers.IntegerField(help_text="Entries made.")
    coalesced = serializers.IntegerField(
        help_text="Receivers for whom the same query was waiting already."
    )
    refused = RefusedSerializer(many=True)


class ParameterSerializer(serializers.Serializer[Any]):
    """One key of a command's dictionary, enough to draw a form from."""

    key = serializers.CharField()
    type = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    help = serializers.CharField()
    required = serializers.BooleanField()  # type: ignore[assignment]
    default = serializers.JSONField(allow_null=True)
    secret = serializers.BooleanField()
    choices = serializers.ListField(child=serializers.CharField())


class SupportSerializer(serializers.Serializer[Any]):
    """What one platform asks for before it takes the command."""

    min_version = serializers.CharField()
    supervised = serializers.BooleanField()
    channels = serializers.SerializerMethodField()
    user_enrollment = serializers.BooleanField(allow_null=True)

    @extend_schema_field({"type": "array", "items": {"type": "string"}})
    def get_channels(self, support: Any) -> list[str]:
        return sorted(support.channels)


class CommandTypeSerializer(serializers.Serializer[Any]):
    """A command that can be sent."""

    request_type = serializers.CharField()
    purpose = serializers.CharField()
    destructive = serializers.BooleanField()
    effect = serializers.ChoiceField(choices=[(each.value, each.value) for each in Effect])
    parameters = ParameterSerializer(many=True)
    support = serializers.SerializerMethodField(help_text="By platform; iPadOS stands under iOS.")

    @extend_schema_field(OpenApiTypes.OBJECT)
    def get_support(self, command: Any) -> dict[str, Any]:
        return {
            str(platform): SupportSerializer(needs).data
            for platform, needs in command.support.items()
        }


class ApprovalSerializer(serializers.ModelSerializer[Approval]):
    """A command that a second person is wanted for, and what they decided."""

    command = serializers.UUIDField(source="command.uuid", read_only=True)
    request_type = serializers.CharField(source="command.request_type", read_only=True)
    targets = serializers.IntegerField(source="command.targets", read_only=True)
    asked_by = serializers.CharField(source="command.asked_by", read_only=True)

    class Meta:
        model = Approval
        fields = [
            *("id", "command", "request_type", "targets", "asked_by", "asked_at", "because"),
            *("state", "expires_at", "decided_at", "decided_by", "note"),
        ]
        read_only_fields = fields


class NoteSerializer(serializers.Serializer[Any]):
    """Why, for the others."""

    note = serializers.CharField(max_length=200, allow_blank=True, default="")


class ReasonSerializer(serializers.Serializer[Any]):
    """Why, for the others."""

    reason = serializers.CharField(max_length=200, allow_blank=True, default="")


class PauseSerializer(serializers.ModelSerializer[Pause]):
    """A time in which no destructive command goes out; it lasts while `ended_at` is null."""

    class Meta:
        model = Pause
        fields = ["id", "began_at", "began_by", "reason", "ended_at", "ended_by"]
        read_only_fields = fields
