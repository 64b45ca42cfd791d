"""The core's data: devices, their enrollments, what they sent and what was refused.

The queue's rows live in `commands/models.py`, the certificate authority's in
`enrollment/models.py`. Append-only rows and pointers to what is current have no foreign key in
Postgres (`db_constraint=False`): checking one locks the enrollment's row, on every message of a
device.
"""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.indexes import BrinIndex, GinIndex, OpClass
from django.db import models
from django.db.models.functions import Lower, Now

from mdm.secrets import SealedField


class Device(models.Model):
    """A machine. Its serial number is the durable key; a user enrollment reveals none."""

    class Platform(models.TextChoices):
        IOS = "iOS"
        IPADOS = "iPadOS"
        MACOS = "macOS"
        TVOS = "tvOS"
        VISIONOS = "visionOS"
        WATCHOS = "watchOS"

    serial_number = models.CharField(max_length=255, null=True, blank=True)
    udid = models.CharField("UDID", max_length=255, blank=True)
    platform = models.CharField(max_length=10, choices=Platform.choices, blank=True)
    device_name = models.CharField(max_length=255, blank=True)
    product_name = models.CharField(max_length=255, blank=True)
    model = models.CharField(max_length=255, blank=True)
    model_name = models.CharField(max_length=255, blank=True)
    os_version = models.CharField("OS version", max_length=64, blank=True)
    build_version = models.CharField(max_length=64, blank=True)
    imei = models.CharField("IMEI", max_length=64, blank=True)
    meid = models.CharField("MEID", max_length=64, blank=True)
    supervised = models.BooleanField(null=True)
    shared_ipad = models.BooleanField("Shared iPad", null=True)
    # The enrollment that speaks for this machine now, or did last.
    enrollment = models.ForeignKey(
        "mdm.Enrollment",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        db_constraint=False,
        related_name="current_for",
    )
    created_at = models.DateTimeField(db_default=Now())
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["serial_number"], name="device_serial_once")]
        indexes = [
            models.Index(fields=["udid"], name="device_udid"),
            # Lists show these, and count them.
            models.Index(
                fields=["id"], name="device_current", condition=models.Q(retired_at__isnull=True)
            ),
            # Which versions there are is a choice of the list's filter.
            models.Index(fields=["os_version"], name="device_os_version"),
            # Search by any part of what people know a device by.
            GinIndex(
                OpClass("serial_number", name="gin_trgm_ops"),
                OpClass("device_name", name="gin_trgm_ops"),
                OpClass("udid", name="gin_trgm_ops"),
                OpClass("model_name", name="gin_trgm_ops"),
                name="device_search",
            ),
        ]

    def __str__(self) -> str:
        return self.device_name or self.serial_number or self.udid or f"Device {self.pk}"


class Enrollment(models.Model):
    """One relation of a device, or of a user on it, with this server.

    `key` is the protocol's id in lower case (see mdm/protocol/ids.py). A device that comes back
    keeps its row and begins a new EnrollmentPeriod. This row is read on every connect: it stays
    narrow.
    """

    class Kind(models.TextChoices):
        DEVICE = "device"
        USER_ENROLLMENT = "user_enrollment"

    class Channel(models.TextChoices):
        DEVICE = "device"
        USER = "user"
        SHARED_IPAD_USER = "shared_ipad_user"

    class State(models.TextChoices):
        AUTHENTICATED = "Authenticated", "Awaiting TokenUpdate"
        ENROLLED = "Enrolled"
        CHECKED_OUT = "CheckedOut", "Checked out"
        ERASED = "Erased"
        RELEASED = "Released"

    key = models.CharField(max_length=600)
    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="enrollments")
    # The device channel under which a user channel stands.
    parent = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        db_index=False,
        related_name="users",
    )
    kind = models.CharField(max_length=16, choices=Kind.choices)
    channel = models.CharField(max_length=16, choices=Channel.choices)
    device_identifier = models.CharField(max_length=255)
    user_identifier = models.CharField(max_length=255, blank=True, db_default="")
    user_short_name = models.CharField(max_length=255, blank=True, db_default="")
    user_long_name = models.CharField(max_length=255, blank=True, db_default="")
    state = models.CharField(max_length=16, choices=State.choices)
    period = models.ForeignKey(
        "mdm.EnrollmentPeriod",
        null=True,
        on_delete=models.SET_NULL,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    # SHA-256 of the one certificate that may speak for this enrollment.
    identity_sha256 = models.BinaryField(null=True)
    access_rights = models.IntegerField(null=True)
    awaiting_configuration = models.BooleanField(default=False, db_default=False)
    not_on_console = models.BooleanField(default=False, db_default=False)
    authenticated_at = models.DateTimeField(null=True)
    enrolled_at = models.DateTimeField(null=True)
    checked_out_at = models.DateTimeField(null=True)
    erased_at = models.DateTimeField(null=True)
    released_at = models.DateTimeField(null=True)
    last_seen_at = models.DateTimeField(null=True)
    # When the first inventory of this period was asked for.
    inventory_asked_at = models.DateTimeField(null=True)

    topic = models.CharField(max_length=255, blank=True)
    push_magic = models.CharField(max_length=255, blank=True, db_default="")
    sealed_push_token = SealedField("push_token", null=True)
    token_updated_at = models.DateTimeField(null=True)
    # Whom to wake, and when: commands sets it, mdm/push reads it, a connect that leaves nothing
    # to do clears it.
    wake_at = models.DateTimeField(null=True)
    wake_attempts = models.SmallIntegerField(default=0, db_default=0)
    pushed_at = models.DateTimeField(null=True)
    # Apple's last word on a push that was not accepted, such as "410 Unregistered".
    push_problem = models.CharField(max_length=100, blank=True, db_default="")
    push_problem_at = models.DateTimeField(null=True)

    class Meta:
        # Few and narrow: a wake-up of many writes to each index of each row.
        constraints = [models.UniqueConstraint(fields=["key"], name="enrollment_key_once")]
        indexes = [
            models.Index(
                fields=["parent"],
                name="enrollment_users",
                condition=models.Q(parent__isnull=False),
            ),
            # The rare states; nearly every enrollment is Enrolled.
            models.Index(
                fields=["state"],
                name="enrollment_rare_state",
                condition=~models.Q(state="Enrolled"),
            ),
            models.Index(
                fields=["wake_at"],
                name="enrollment_wake",
                condition=models.Q(wake_at__isnull=False),
            ),
            models.Index(
                fields=["id"],
                name="enrollment_awaiting",
                condition=models.Q(state="Enrolled", awaiting_configuration=True),
            ),
            models.Index(
                fields=["id"],
                name="enrollment_inventory_due",
                condition=models.Q(state="Enrolled", inventory_asked_at__isnull=True),
            ),
            # Search by any part of a user's name: rows of users alone, which are few and not woken
            # for every command.
            GinIndex(
                OpClass("user_short_name", name="gin_trgm_ops"),
                OpClass("user_long_name", name="gin_trgm_ops"),
                name="enrollment_user_search",
                condition=models.Q(parent__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.key


class Group(models.Model):
    """Devices that people treat alike. A device may be in several; the group of the best rank,
    which is the smallest number, speaks where only one can.
    """

    class Kind(models.TextChoices):
        # Its members were picked, by serial number.
        STATIC = "static"
        # Its members are found by its rule.
        SMART = "smart"

    name = models.CharField(max_length=100)
    kind = models.CharField(max_length=10, choices=Kind.choices)
    # See profiles/rules.py; {} for a static group.
    rule = models.JSONField(default=dict, db_default={})
    rank = models.IntegerField()
    created_at = models.DateTimeField(db_default=Now())
    created_by = models.CharField(max_length=200)
    # When its members changed last.
    changed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["rank"]
        constraints = [
            models.UniqueConstraint(Lower("name"), name="group_name_once"),
            models.UniqueConstraint(
                fields=["rank"], name="group_rank_once", deferrable=models.Deferrable.DEFERRED
            ),
        ]

    def __str__(self) -> str:
        return self.name


class GroupMember(models.Model):
    """A serial number in a group, also one that nobody has seen yet."""

    group = models.ForeignKey(
        Group, on_delete=models.CASCADE, db_index=False, related_name="members"
    )
    serial_number = models.CharField(max_length=255)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["group", "serial_number"], name="group_member_once")
        ]
        indexes = [models.Index(fields=["serial_number"], name="group_member_serial")]

    def __str__(self) -> str:
        return f"{self.serial_number} in {self.group_id}"


class NamedView(models.Model):
    """How someone likes to see a table: its filters and order (`query`) and the columns left out.
    The one without a name holds the columns that its owner chose for the table as such.
    """

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, db_index=False, related_name="views"
    )
    # The slug of its mdm.tables.Table.
    table = models.CharField(max_length=50)
    name = models.CharField(max_length=60, blank=True)
    query = models.CharField(max_length=1000, blank=True)
    hidden = models.JSONField(default=list, db_default=[])
    # Offered to everyone who sees the table.
    shared = models.BooleanField(default=False, db_default=False)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint("owner", "table", Lower("name"), name="named_view_once")
        ]
        indexes = [
            models.Index(
                fields=["table"], name="named_view_shared", condition=models.Q(shared=True)
            )
        ]

    def __str__(self) -> str:
        return self.name or f"Columns of {self.table}"


class EnrollmentPeriod(models.Model):
    """From one Authenticate to the end of management: an enrollment may have several."""

    enrollment = models.ForeignKey(
        Enrollment, on_delete=models.CASCADE, db_constraint=False, related_name="periods"
    )
    began_at = models.DateTimeField()
    completed_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    # What ended it: CheckedOut, Erased, Released, or Authenticated when a new period replaced it.
    ended_by = models.CharField(max_length=16, blank=True)
    identity_sha256 = models.BinaryField(null=True)

    class Meta:
        ordering = ["id"]
        # For those of the last days, which stand together at the end of the table. A btree would
        # get an entry, and the row another place with all its other entries, whenever a device
        # completes its enrollment (TokenUpdate). This holds but the first and last moment of every
        # few pages, and leaves the row where it is.
        indexes = [
            BrinIndex(
                fields=["completed_at"],
                name="period_completed",
                autosummarize=True,
                pages_per_range=16,
            )
        ]

    def __str__(self) -> str:
        return f"{self.enrollment_id} since {self.began_at:%Y-%m-%d %H:%M}"


class Escrow(models.Model):
    """A secret that a device entrusted to the server, sealed (mdm/secrets.py)."""

    class Kind(models.TextChoices):
        UNLOCK_TOKEN = "UnlockToken"
        BOOTSTRAP_TOKEN = "BootstrapToken"

    enrollment = models.ForeignKey(
        Enrollment,
        on_delete=models.CASCADE,
        db_constraint=False,
        db_index=False,
        related_name="escrow",
    )
    kind = models.CharField(max_length=20, choices=Kind.choices)
    sealed = SealedField("unlock_token", "bootstrap_token")
    received_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["enrollment", "kind"], name="escrow_one_of_a_kind")
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.enrollment_id}"


class Identity(models.Model):
    """A certificate that our authority issued to a device, and what it was issued for."""

    sha256 = models.BinaryField(unique=True)
    certificate = models.BinaryField()
    # The binding as it stands in the certificate (mdm/protocol/binding.py).
    binding = models.TextField()
    issued_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)
    access_rights = models.IntegerField(null=True)
    enrollment = models.ForeignKey(
        Enrollment,
        null=True,
        on_delete=models.SET_NULL,
        db_constraint=False,
        related_name="identities",
    )

    class Meta:
        # What ends next. Nothing in it changes later, so an identity that is revoked gets no new
        # entry in any index.
        indexes = [models.Index(fields=["expires_at", "id"], name="identity_ends")]

    def __str__(self) -> str:
        return bytes(self.sha256).hex()[:16]


class CheckinMessage(models.Model):
    """A check-in message that was accepted, its secrets removed. Append-only."""

    enrollment = models.ForeignKey(
        Enrollment,
        on_delete=models.CASCADE,
        db_constraint=False,
        db_index=False,
        related_name="messages",
    )
    message_type = models.CharField(max_length=40)
    received_at = models.DateTimeField()
    body = models.BinaryField()

    class Meta:
        # The only one besides the key: what an enrollment sent, and which of a kind came last.
        indexes = [
            models.Index(
                fields=["enrollment", "message_type", "id"], name="checkin_message_of_kind"
            )
        ]

    def __str__(self) -> str:
        return f"{self.message_type} of {self.enrollment_id}"


class Quarantine(models.Model):
    """A device that turned up with an identity not issued for it; an admin decides."""

    class State(models.TextChoices):
        WAITING = "Waiting"
        ACCEPTED = "Accepted"
        REJECTED = "Rejected"
        USED = "Used"

    enrollment_key = models.CharField(max_length=600)
    serial_number = models.CharField(max_length=255, blank=True)
    identity_sha256 = models.BinaryField()
    certificate = models.BinaryField()
    binding = models.TextField(blank=True)
    reason = models.CharField(max_length=60)
    body = models.BinaryField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    count = models.IntegerField(default=1)
    decided_at = models.DateTimeField(null=True)
    decided_by = models.CharField(max_length=200, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["enrollment_key", "identity_sha256"], name="quarantine_once"
            )
        ]
        indexes = [models.Index(fields=["state", "-last_at"])]

    def __str__(self) -> str:
        return f"{self.enrollment_key}: {self.reason}"


class Refusal(models.Model):
    """How often device requests were refused for a reason, summed up by the hour."""

    reason = models.CharField(max_length=60)
    hour = models.DateTimeField()
    count = models.IntegerField()
    last_at = models.DateTimeField()
    last_address = models.CharField(max_length=64, blank=True)
    last_detail = models.CharField(max_length=300, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["reason", "hour"], name="refusal_by_hour")]

    def __str__(self) -> str:
        return f"{self.count} × {self.reason}"


class InventorySection(models.Model):
    """The last report of one kind (DeviceInformation, ProfileList, ...) from one enrollment."""

    enrollment = models.ForeignKey(Enrollment, on_delete=models.CASCADE, related_name="inventory")
    section = models.CharField(max_length=40)
    data = models.JSONField()
    item_count = models.IntegerField(default=0)
    truncated = models.BooleanField(default=False)
    reported_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["enrollment", "section"], name="inventory_section_once")
        ]

    def __str__(self) -> str:
        return f"{self.section} of {self.enrollment_id}"


class PushCertificate(models.Model):
    """The MDM push certificate with its sealed key. Its topic ties devices to it."""

    topic = models.CharField(max_length=255)
    certificate = models.TextField("certificate (PEM)")
    sealed_key = SealedField("push_key")
    serial = models.CharField(max_length=80)
    not_before = models.DateTimeField()
    not_after = models.DateTimeField()
    uploaded_at = models.DateTimeField(db_default=Now())
    # The one in use; older ones are kept for the record.
    active = models.BooleanField(default=True)
    problem = models.CharField(max_length=200, blank=True)
    problem_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["active"], name="push_certificate_in_use", condition=models.Q(active=True)
            )
        ]

    def __str__(self) -> str:
        return self.topic
