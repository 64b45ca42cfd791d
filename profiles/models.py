"""ADE profiles with their versions, and the rules that say which device gets which.

What Apple is told of it is `abm.models.Definition` and `abm.models.Wish`.
"""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Lower, Now

from abm.models import Server
from mdm.models import Group
from mdm.secrets import SealedField


class Profile(models.Model):
    """An ADE profile: a name, and versions of what it says. `current` is the one that devices get;
    None while only a draft was written.
    """

    name = models.CharField(max_length=125)
    current = models.ForeignKey(
        "profiles.Version", null=True, on_delete=models.RESTRICT, related_name="+"
    )
    created_at = models.DateTimeField(db_default=Now())
    created_by = models.CharField(max_length=200)
    archived_at = models.DateTimeField(null=True)
    archived_by = models.CharField(max_length=200, blank=True, db_default="")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                Lower("name"),
                name="profile_name_once",
                condition=models.Q(archived_at=None),
            )
        ]

    def __str__(self) -> str:
        return self.name


class Version(models.Model):
    """What a profile says, or said. Never changed: a change is another version.

    `content` are the keys of `profiles.wire.content`. The secret stands in the address that
    devices enroll at, and tells which version a device was given.
    """

    profile = models.ForeignKey(
        Profile, on_delete=models.CASCADE, db_index=False, related_name="versions"
    )
    number = models.IntegerField()
    content = models.JSONField()
    # Whether people sign in on a page before the device gets in.
    signs_in = models.BooleanField(default=False)
    # How long a device is held in Setup Assistant at most, where it awaits its configuration.
    await_minutes = models.IntegerField(default=30)
    secret_sha256 = models.BinaryField(unique=True)
    sealed_secret = SealedField("ade_secret")
    created_at = models.DateTimeField(db_default=Now())
    created_by = models.CharField(max_length=200)
    # None for a draft.
    applied_at = models.DateTimeField(null=True)
    applied_by = models.CharField(max_length=200, blank=True, db_default="")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["profile", "number"], name="version_number_once"),
            models.UniqueConstraint(
                fields=["profile"],
                name="version_one_draft",
                condition=models.Q(applied_at=None),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.profile}, version {self.number}"


class DeviceProfile(models.Model):
    """A profile that someone gave to this very device."""

    serial_number = models.CharField(max_length=64, unique=True)
    profile = models.ForeignKey(Profile, on_delete=models.RESTRICT, related_name="devices")
    set_at = models.DateTimeField(db_default=Now())
    set_by = models.CharField(max_length=200)

    def __str__(self) -> str:
        return f"{self.serial_number}: {self.profile_id}"


class GroupProfile(models.Model):
    """A profile that someone gave to a group."""

    group = models.OneToOneField(Group, on_delete=models.CASCADE, related_name="profile")
    profile = models.ForeignKey(Profile, on_delete=models.RESTRICT, related_name="groups")
    set_at = models.DateTimeField(db_default=Now())
    set_by = models.CharField(max_length=200)

    def __str__(self) -> str:
        return f"{self.group_id}: {self.profile_id}"


class Default(models.Model):
    """The profile of devices of an OS for which nothing else speaks: of one ABM server, or of all
    that have none of their own.
    """

    class OS(models.TextChoices):
        IOS = "iOS", "iOS and iPadOS"
        MACOS = "macOS", "macOS"
        TVOS = "tvOS", "tvOS"
        VISIONOS = "visionOS", "visionOS"
        WATCHOS = "watchOS", "watchOS"

    os = models.CharField("OS", max_length=10, choices=OS.choices)
    server = models.ForeignKey(Server, null=True, on_delete=models.CASCADE, related_name="defaults")
    profile = models.ForeignKey(Profile, on_delete=models.RESTRICT, related_name="defaults")
    set_at = models.DateTimeField(db_default=Now())
    set_by = models.CharField(max_length=200)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["os", "server"], name="default_once", nulls_distinct=False
            )
        ]

    @staticmethod
    def speaks() -> models.Q:
        """The general ones, and those of servers that are connected still."""
        return models.Q(server=None) | models.Q(server__disconnected_at=None)

    def __str__(self) -> str:
        return f"{self.os}: {self.profile_id}"


class News(models.Model):
    """A serial number about which something has changed that rules may look at; gone once groups
    and wishes follow. Written in the transaction of the change.
    """

    serial_number = models.CharField(max_length=255)

    class Meta:
        verbose_name_plural = "news"

    def __str__(self) -> str:
        return self.serial_number
