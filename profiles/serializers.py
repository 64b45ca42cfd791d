"""What profiles, groups and explanations look like in the API, and what a client may say."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from abm.models import AbmDevice, Definition, Server
from mdm.models import Group, GroupMember
from profiles import editing
from profiles.models import Default, Profile, Version


class VersionSerializer(serializers.ModelSerializer[Version]):
    """What a profile says, or said. The address with its secret is shown nowhere."""

    profile = serializers.IntegerField(source="profile_id", read_only=True)
    content = serializers.JSONField(help_text="Apple's keys of an ADE profile.")

    class Meta:
        model = Version
        fields = [
            *("profile", "number", "content", "signs_in", "await_minutes", "created_at"),
            *("created_by", "applied_at", "applied_by"),
        ]
        read_only_fields = fields


class ProfileSerializer(serializers.ModelSerializer[Profile]):
    """An ADE profile with the version that devices get."""

    current = VersionSerializer(read_only=True, allow_null=True)
    uses = serializers.SerializerMethodField(help_text="What gives it to devices, in words.")

    class Meta:
        model = Profile
        fields = ["id", "name", "current", "uses", "created_at", "created_by", "archived_at"]
        read_only_fields = fields

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_uses(self, profile: Profile) -> list[str]:
        return editing.uses(profile)


class NewVersionSerializer(serializers.Serializer[Any]):
    """What a version says. Keys that are left out have Apple's defaults."""

    content = serializers.DictField(help_text="Apple's keys of an ADE profile.")
    signs_in = serializers.BooleanField(
        default=False, help_text="Whether someone signs in on a page before the device enrolls."
    )
    await_minutes = serializers.IntegerField(
        default=30,
        min_value=editing.LEAST_MINUTES,
        max_value=editing.MOST_MINUTES,
        help_text="For how long a device is held in Setup Assistant at most.",
    )


class NewProfileSerializer(NewVersionSerializer):
    """What a profile is made with."""

    name = serializers.CharField(max_length=125)


class RenameSerializer(serializers.Serializer[Any]):
    """Another name."""

    name = serializers.CharField(max_length=125)


class PreviewLineSerializer(serializers.Serializer[Any]):
    """So many devices of a server go from one version to another; null is no profile."""

    server = serializers.IntegerField(source="server.pk")
    before = serializers.CharField(allow_null=True)
    after = serializers.CharField(allow_null=True)
    devices = serializers.IntegerField()


class PreviewSerializer(serializers.Serializer[Any]):
    """What a change would do. It takes effect on a device when that is next erased."""

    devices = serializers.IntegerField()
    lines = PreviewLineSerializer(many=True)
    requests = serializers.IntegerField(help_text="In how many requests Apple is told.")
    seconds = serializers.FloatField(help_text="How long that takes, about.")
    blocked = serializers.ListField(
        child=serializers.CharField(), help_text="Why nothing reaches Apple before it is mended."
    )


class DefinitionSerializer(serializers.ModelSerializer[Definition]):
    """A version of a profile as an ABM server has it defined, or is to have it."""

    version = serializers.SerializerMethodField(help_text="Its number.")

    class Meta:
        model = Definition
        fields = [
            *("id", "server", "version", "profile_uuid", "state", "refusal"),
            *("created_at", "defined_at"),
        ]
        read_only_fields = fields

    def get_version(self, definition: Definition) -> int | None:
        numbers: dict[int, int] = self.context["numbers"]
        return numbers.get(definition.reference)


class DifferenceSerializer(serializers.Serializer[Any]):
    """What Apple has otherwise than it was sent."""

    key = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    before = serializers.JSONField(help_text="As it was sent.")
    after = serializers.JSONField(help_text="As Apple has it.")


class ComparisonSerializer(serializers.Serializer[Any]):
    """How Apple's copy differs, as it was fetched last."""

    waiting = serializers.BooleanField(help_text="Whether it is being fetched.")
    copied_at = serializers.DateTimeField(allow_null=True)
    problem = serializers.CharField(help_text="Why it could not be fetched; else empty.")
    differences = DifferenceSerializer(many=True)


class DefaultSerializer(serializers.ModelSerializer[Default]):
    """The profile of devices of an OS for which nothing else speaks; without a server for all."""

    server = serializers.PrimaryKeyRelatedField(
        queryset=Server.objects.filter(disconnected_at=None), allow_null=True, default=None
    )
    profile = serializers.PrimaryKeyRelatedField(
        queryset=Profile.objects.all(), allow_null=True, help_text="Null takes the default away."
    )

    class Meta:
        model = Default
        fields = ["os", "server", "profile", "set_at", "set_by"]
        read_only_fields = ["set_at", "set_by"]
        validators: list[Any] = []


class GroupSerializer(serializers.ModelSerializer[Group]):
    """Devices that are treated alike. The best rank is 1."""

    profile = serializers.SerializerMethodField(help_text="The id of the profile it gives.")
    members = serializers.IntegerField(source="member_count", read_only=True)

    class Meta:
        model = Group
        fields = [
            *("id", "name", "kind", "rule", "rank", "profile", "members", "created_at"),
            *("created_by", "changed_at"),
        ]
        read_only_fields = fields

    @extend_schema_field(serializers.IntegerField(allow_null=True))
    def get_profile(self, group: Group) -> int | None:
        given = getattr(group, "profile", None)
        return given.profile_id if given else None


class NewGroupSerializer(serializers.Serializer[Any]):
    """A group with serial numbers, or with a rule."""

    name = serializers.CharField(max_length=100)
    rule = serializers.DictField(
        required=False,
        help_text='{"match": "all" or "any", "conditions": [{"field", "op", "value"}]}.',
    )
    serial_numbers = serializers.ListField(
        child=serializers.CharField(max_length=64), required=False, max_length=100_000
    )


class GroupChangesSerializer(serializers.Serializer[Any]):
    """What of a group can be changed."""

    name = serializers.CharField(max_length=100, required=False)
    rank = serializers.IntegerField(min_value=1, max_value=100_000, required=False)
    rule = serializers.DictField(required=False)
    profile = serializers.PrimaryKeyRelatedField(
        queryset=Profile.objects.all(), required=False, allow_null=True
    )


class ProfileChoiceSerializer(serializers.Serializer[Any]):
    """A profile, or none."""

    profile = serializers.PrimaryKeyRelatedField(queryset=Profile.objects.all(), allow_null=True)


class RuleToCountSerializer(serializers.Serializer[Any]):
    """A rule as a group has it."""

    rule = serializers.DictField(
        help_text='{"match": "all" or "any", "conditions": [{"field", "op", "value"}]}.'
    )


class CountSerializer(serializers.Serializer[Any]):
    """How many devices there are."""

    devices = serializers.IntegerField()


class MemberSerializer(serializers.ModelSerializer[GroupMember]):
    """A serial number in a group, also one that nobody has seen yet."""

    class Meta:
        model = GroupMember
        fields = ["serial_number"]


class SerialsSerializer(serializers.Serializer[Any]):
    """Which serial numbers."""

    serial_numbers = serializers.ListField(
        child=serializers.CharField(max_length=64), allow_empty=False, max_length=100_000
    )


class ChangedSerializer(serializers.Serializer[Any]):
    """How many that changed."""

    changed = serializers.IntegerField()


class GivingSerializer(SerialsSerializer):
    """Which devices get which profile as their own."""

    profile = serializers.PrimaryKeyRelatedField(
        queryset=Profile.objects.all(), allow_null=True, help_text="Null takes theirs away."
    )


# In a generated client, a thing and its field cannot share a name.
@extend_schema_serializer(component_name="AdeDevice")
class WantedSerializer(serializers.ModelSerializer[AbmDevice]):
    """A device on the list, with the profile that it should have."""

    server = serializers.IntegerField(source="server_id", read_only=True)
    wanted = serializers.CharField(
        source="wish.definition.name", default=None, allow_null=True, read_only=True
    )
    rule = serializers.CharField(
        source="wish.rule",
        default="",
        read_only=True,
        help_text='"device", "group" or "default"; "" where the device is Unassigned.',
    )
    answer = serializers.CharField(
        source="wish.answer",
        default="",
        read_only=True,
        help_text="Apple's last status; UNANSWERED where it gave none.",
    )
    tried_at = serializers.DateTimeField(
        source="wish.tried_at", default=None, allow_null=True, read_only=True
    )
    retry_at = serializers.DateTimeField(
        source="wish.retry_at", default=None, allow_null=True, read_only=True
    )

    class Meta:
        model = AbmDevice
        fields = [
            *("serial_number", "server", "wanted", "rule", "profile_status", "profile_uuid"),
            *("answer", "tried_at", "retry_at"),
        ]
        read_only_fields = fields


class RuleSerializer(serializers.Serializer[Any]):
    """Something that could give the device a profile, and why it does or does not."""

    kind = serializers.CharField(help_text='"device", "group" or "default".')
    name = serializers.CharField()
    profile = serializers.CharField(allow_null=True)
    won = serializers.BooleanField()
    why = serializers.CharField()


class AttemptSerializer(serializers.Serializer[Any]):
    """What Apple was told, and what it answered."""

    at = serializers.DateTimeField()
    said = serializers.CharField()
    answer = serializers.CharField()
    meaning = serializers.CharField()


class ExplanationSerializer(serializers.Serializer[Any]):
    """Why a device has its profile, or none."""

    serial_number = serializers.CharField()
    state = serializers.CharField(
        help_text="settled, pending, following, cooling, blocked, undefined, unassigned, unlisted."
    )
    sentence = serializers.CharField()
    wanted = serializers.CharField(allow_null=True)
    has = serializers.CharField()
    rules = RuleSerializer(many=True)
    attempts = AttemptSerializer(many=True)
    next_step = serializers.CharField()
    next_at = serializers.DateTimeField(allow_null=True)
