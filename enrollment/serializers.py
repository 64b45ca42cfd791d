"""What enrollment links and arrivals look like in the API, and what a client may say."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from enrollment import links
from enrollment.models import Arrival, EnrollmentLink, Holding, MinimumOS, RefusedArrival


class LinkSerializer(serializers.ModelSerializer[EnrollmentLink]):
    """A link without its address, which would let whoever reads the list enroll a device."""

    open = serializers.SerializerMethodField(help_text="Whether it still lets devices in.")

    class Meta:
        model = EnrollmentLink
        fields = [
            "id",
            "name",
            "serial_number",
            "max_uses",
            "uses",
            "open",
            "created_by",
            "created_at",
            "expires_at",
            "last_used_at",
            "revoked_at",
            "revoked_by",
        ]
        read_only_fields = fields

    def get_open(self, link: EnrollmentLink) -> bool:
        return links.closed(link) is None


class NewLinkSerializer(serializers.Serializer[Any]):
    """What a link is asked for with."""

    name = serializers.CharField(max_length=100)
    max_uses = serializers.IntegerField(min_value=1, max_value=links.MAX_USES, default=1)
    expires_at = serializers.DateTimeField(required=False, allow_null=True, default=None)
    serial_number = serializers.CharField(
        max_length=64,
        required=False,
        default="",
        allow_blank=True,
        help_text="Where given, only the device with this serial number gets in.",
    )


class ReadingSerializer(serializers.Serializer[Any]):
    """What a secret is shown for."""

    reason = serializers.CharField(max_length=200)


class LinkAddressSerializer(serializers.Serializer[Any]):
    """What to open on the device."""

    url = serializers.CharField(read_only=True)


class ShownLinkSerializer(LinkSerializer):
    """A new link with its address; later it is asked for with a reason."""

    url = serializers.CharField(read_only=True)

    class Meta(LinkSerializer.Meta):
        fields = ["url", *LinkSerializer.Meta.fields]
        read_only_fields = fields


class ArrivalSerializer(serializers.ModelSerializer[Arrival]):
    """A device that came by Automated Device Enrollment and was let in; `flags` is what was odd."""

    profile = serializers.CharField(
        source="version", read_only=True, allow_null=True, help_text="The version it came with."
    )
    flags = serializers.ListField(child=serializers.CharField(), read_only=True)

    class Meta:
        model = Arrival
        fields = [
            *("id", "serial_number", "udid", "product", "os_version", "build", "language"),
            *("profile", "person", "flags", "address", "at"),
        ]
        read_only_fields = fields


class RefusedArrivalSerializer(serializers.ModelSerializer[RefusedArrival]):
    """Who was refused how often, and why; the serial number is claimed and not proven."""

    class Meta:
        model = RefusedArrival
        fields = [
            *("id", "serial_number", "reason", "sentence", "address", "first_at", "last_at"),
            *("count",),
        ]
        read_only_fields = fields


class MinimumOSSerializer(serializers.ModelSerializer[MinimumOS]):
    """The oldest OS version of a platform; "" takes it away."""

    version = serializers.CharField(max_length=30, allow_blank=True)

    class Meta:
        model = MinimumOS
        fields = ["platform", "version"]
        extra_kwargs: dict[str, Any] = {"platform": {"validators": []}}


class HoldingSerializer(serializers.ModelSerializer[Holding]):
    """A device that waits in Setup Assistant: it is let go when all that was asked of it is
    answered, or at the time limit. `released_by` is what let it go, or who.
    """

    class Meta:
        model = Holding
        fields = ["enrollment", "began_at", "limit_at", "released_at", "released_by"]
        read_only_fields = fields


class AskedSerializer(serializers.Serializer[Any]):
    """The command by which a device is asked; `commands/{uuid}/` tells what comes of it."""

    command = serializers.UUIDField(source="uuid")
    held = serializers.BooleanField(help_text="Whether it is kept back, for a second person, say.")


class AppleCertificateSerializer(serializers.Serializer[Any]):
    """A certificate of Apple's, by which devices prove their serial number."""

    name = serializers.CharField()
    sha256 = serializers.CharField(help_text="Of its DER; by this alone it is accepted.")
    root = serializers.BooleanField()  # type: ignore[assignment]
    fetched = serializers.BooleanField(
        help_text="Whether Apple's site has it; the others devices bring along."
    )
    accepted = serializers.BooleanField(help_text="Whether it is here.")
