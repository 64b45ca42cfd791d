"""What the core's objects look like in the API. Everything here is for reading; what a client may
say is in the serializers named after the act.
"""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from mdm import identities, standing
from mdm.accounts import tokens
from mdm.accounts.models import ApiToken
from mdm.accounts.rights import Role
from mdm.models import (
    Device,
    Enrollment,
    EnrollmentPeriod,
    Escrow,
    Group,
    Identity,
    InventorySection,
    Quarantine,
)


@extend_schema_field(OpenApiTypes.STR)
class HexField(serializers.Field[bytes, str, str, Any]):
    """Bytes as lower-case hexadecimal."""

    def to_representation(self, value: bytes) -> str:
        return bytes(value).hex()


class CurrentEnrollmentSerializer(serializers.ModelSerializer[Enrollment]):
    """The enrollment that speaks for a device now, as the device shows it."""

    class Meta:
        model = Enrollment
        fields = ["id", "state", "kind", "enrolled_at", "last_seen_at"]
        read_only_fields = fields


class StandingSerializer(serializers.Serializer[Any]):
    """How a device stands with this server, in the words of the dashboard."""

    word = serializers.CharField()
    why = serializers.CharField()
    since = serializers.DateTimeField(allow_null=True)


class DeviceSerializer(serializers.ModelSerializer[Device]):
    """A machine."""

    # "" where the device has not said it.
    platform = serializers.ChoiceField(
        choices=Device.Platform.choices, allow_blank=True, read_only=True
    )
    enrollment = CurrentEnrollmentSerializer(read_only=True, allow_null=True)
    standing = serializers.SerializerMethodField()

    class Meta:
        model = Device
        fields = [
            "id",
            "serial_number",
            "udid",
            "platform",
            "device_name",
            "product_name",
            "model",
            "model_name",
            "os_version",
            "build_version",
            "imei",
            "meid",
            "supervised",
            "shared_ipad",
            "standing",
            "enrollment",
            "created_at",
            "retired_at",
        ]
        read_only_fields = fields

    @extend_schema_field(StandingSerializer)
    def get_standing(self, device: Device) -> dict[str, Any]:
        return StandingSerializer(standing.of(device, timezone.now())).data


class EnrollmentSerializer(serializers.ModelSerializer[Enrollment]):
    """One relation of a device, or of a user on it, with this server."""

    serial_number = serializers.CharField(
        source="device.serial_number", read_only=True, allow_null=True
    )
    identity_sha256 = serializers.SerializerMethodField()

    class Meta:
        model = Enrollment
        fields = [
            "id",
            "key",
            "device",
            "serial_number",
            "parent",
            "kind",
            "channel",
            "user_identifier",
            "user_short_name",
            "user_long_name",
            "state",
            "access_rights",
            "awaiting_configuration",
            "identity_sha256",
            "authenticated_at",
            "enrolled_at",
            "checked_out_at",
            "erased_at",
            "released_at",
            "last_seen_at",
            "topic",
            "pushed_at",
            "push_problem",
            "push_problem_at",
        ]
        read_only_fields = fields

    def get_identity_sha256(self, enrollment: Enrollment) -> str | None:
        digest = enrollment.identity_sha256
        return bytes(digest).hex() if digest is not None else None


class PeriodSerializer(serializers.ModelSerializer[EnrollmentPeriod]):
    """From one Authenticate to the end of management."""

    class Meta:
        model = EnrollmentPeriod
        fields = ["id", "began_at", "completed_at", "ended_at", "ended_by"]
        read_only_fields = fields


class OwnIdentitySerializer(serializers.ModelSerializer[Identity]):
    """A certificate that was issued for an enrollment; the one in use is `identity_sha256`."""

    sha256 = HexField(read_only=True)

    class Meta:
        model = Identity
        fields = ["sha256", "issued_at", "expires_at", "revoked_at"]
        read_only_fields = fields


class EscrowSerializer(serializers.ModelSerializer[Escrow]):
    """A secret that the device entrusted to the server, which is shown nowhere."""

    class Meta:
        model = Escrow
        fields = ["kind", "received_at"]
        read_only_fields = fields


class EnrollmentDetailSerializer(EnrollmentSerializer):
    """An enrollment with its periods, its certificates, and what it entrusted to the server."""

    periods = PeriodSerializer(many=True, read_only=True)
    identities = OwnIdentitySerializer(many=True, read_only=True)
    escrow = EscrowSerializer(many=True, read_only=True)

    class Meta(EnrollmentSerializer.Meta):
        fields = [*EnrollmentSerializer.Meta.fields, "periods", "identities", "escrow"]
        read_only_fields = fields


class SectionSerializer(serializers.ModelSerializer[InventorySection]):
    """What there is of a section, without its data."""

    class Meta:
        model = InventorySection
        fields = ["section", "item_count", "truncated", "reported_at"]
        read_only_fields = fields


class SectionDetailSerializer(SectionSerializer):
    """The last report of one kind, as the device gave it."""

    class Meta(SectionSerializer.Meta):
        fields = [*SectionSerializer.Meta.fields, "data"]
        read_only_fields = fields


class QuarantineSerializer(serializers.ModelSerializer[Quarantine]):
    """A device that turned up with an identity not issued for it."""

    identity_sha256 = HexField(read_only=True)

    class Meta:
        model = Quarantine
        fields = [
            "id",
            "enrollment_key",
            "serial_number",
            "identity_sha256",
            "reason",
            "state",
            "first_at",
            "last_at",
            "count",
            "decided_at",
            "decided_by",
        ]
        read_only_fields = fields


class IdentitySerializer(serializers.ModelSerializer[Identity]):
    """A certificate that this server issued to a device."""

    sha256 = HexField(read_only=True)
    state = serializers.SerializerMethodField()
    device = serializers.IntegerField(
        source="enrollment.device_id",
        read_only=True,
        allow_null=True,
        default=None,
        help_text="null until a device has enrolled with it.",
    )
    serial_number = serializers.SerializerMethodField(
        help_text="Of the device; until one has enrolled with it, the one that it is for, if any."
    )
    purpose = serializers.SerializerMethodField()
    way = serializers.SerializerMethodField(help_text="How it was come by: link, ade, renewal.")

    class Meta:
        model = Identity
        fields = [
            *("id", "sha256", "state", "enrollment", "device", "serial_number"),
            *("purpose", "way", "issued_at", "expires_at", "revoked_at", "access_rights"),
        ]
        read_only_fields = fields

    @extend_schema_field(serializers.ChoiceField(choices=identities.State.choices))
    def get_state(self, identity: Identity) -> str:
        return identities.of(identity, timezone.now()).value

    def get_serial_number(self, identity: Identity) -> str | None:
        return identities.serial_number(identity) or None

    def get_purpose(self, identity: Identity) -> str | None:
        bound = identities.binding(identity)
        return bound.purpose.value if bound else None

    def get_way(self, identity: Identity) -> str | None:
        bound = identities.binding(identity)
        return bound.way if bound else None


class TokenSerializer(serializers.ModelSerializer[ApiToken]):
    """A token without its text: `token_key` is how it begins."""

    class Meta:
        model = ApiToken
        fields = ["token_key", "name", "role", "group", "created", "expiry", "last_used_at"]
        read_only_fields = fields


class NewTokenSerializer(serializers.Serializer[Any]):
    """What a token is asked for with."""

    name = serializers.CharField(max_length=100)
    role = serializers.ChoiceField(
        choices=Role.choices, help_text="What it may do; never more than its owner."
    )
    group = serializers.PrimaryKeyRelatedField(
        queryset=Group.objects.all(),
        allow_null=True,
        default=None,
        help_text="The group (by id) to whose devices it is limited.",
    )
    expires_in_days = serializers.IntegerField(
        min_value=1, max_value=tokens.LONGEST.days, default=90
    )


class ShownTokenSerializer(TokenSerializer):
    """A new token with its text, the only time that it is shown."""

    token = serializers.CharField(read_only=True)

    class Meta(TokenSerializer.Meta):
        fields = ["token", *TokenSerializer.Meta.fields]
        read_only_fields = fields
