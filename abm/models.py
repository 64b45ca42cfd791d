"""What is known of Apple Business Manager: our MDM servers there, the devices that each of them
lists, every run of the sync and every operation that Apple sent.
"""

from __future__ import annotations

from django.contrib.postgres.indexes import BrinIndex, GinIndex, OpClass
from django.db import models
from django.db.models.functions import Now

from mdm.models import Device
from mdm.secrets import SealedField


class Server(models.Model):
    """One MDM server in ABM (Apple's newer word: device management service), and how far its sync
    has come. `name` is ours, `server_name` Apple's.
    """

    class Phase(models.TextChoices):
        """What `cursor` belongs to."""

        LIST = "list", "Reading the whole list"
        # The list was read; what it did not contain is being asked about.
        MISSING = "missing", "Asking about devices that were not listed"
        FEED = "feed", "Following changes"

    class Problem(models.TextChoices):
        """Why the last conversation with Apple failed. "" means that it did not."""

        TERMS_NOT_SIGNED = "terms_not_signed"
        EXPIRED = "expired"
        REJECTED = "rejected"
        THROTTLED = "throttled"
        UNREACHABLE = "unreachable"
        REFUSED = "refused"
        STUCK = "stuck"

    name = models.CharField(max_length=125)
    created_at = models.DateTimeField(db_default=Now())
    disconnected_at = models.DateTimeField(null=True)

    sealed_token = SealedField("server_token", null=True)
    token_expires_at = models.DateTimeField(null=True)
    token_accepted_at = models.DateTimeField(null=True)
    # The last threshold, in days, at which the token's end was announced.
    reminded_days = models.SmallIntegerField(null=True)

    # What /account says; `account` is the whole answer.
    server_uuid = models.CharField("server UUID", max_length=100, blank=True, db_default="")
    server_name = models.CharField(max_length=1000, blank=True, db_default="")
    org_name = models.CharField(max_length=1000, blank=True, db_default="")
    admin_id = models.CharField(max_length=1000, blank=True, db_default="")
    account = models.JSONField(default=dict, db_default={})
    account_read_at = models.DateTimeField(null=True)

    page_size = models.IntegerField(default=100, db_default=100)
    phase = models.CharField(
        max_length=10, choices=Phase.choices, default=Phase.LIST, db_default=Phase.LIST.value
    )
    cursor = models.CharField(max_length=1000, blank=True, db_default="")
    # Counts full lists: a device that carries a smaller number was not in the last one.
    list_number = models.IntegerField(default=0, db_default=0)
    # Apple's clock when the last full list began.
    list_began_at = models.DateTimeField(null=True)
    list_finished_at = models.DateTimeField(null=True)
    list_asked_at = models.DateTimeField(null=True)
    # The run that may write; one that finds another number here has been overtaken.
    run_id = models.BigIntegerField(null=True)
    synced_at = models.DateTimeField(null=True)
    # How many runs in a row got the same cursor back.
    stuck_runs = models.SmallIntegerField(default=0, db_default=0)

    problem = models.CharField(max_length=20, choices=Problem.choices, blank=True, db_default="")
    problem_said = models.CharField(max_length=300, blank=True, db_default="")
    problem_at = models.DateTimeField(null=True)
    retry_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["server_uuid"],
                name="abm_server_once",
                condition=models.Q(disconnected_at=None) & ~models.Q(server_uuid=""),
            )
        ]

    def __str__(self) -> str:
        return self.name or self.server_name or f"ABM server {self.pk}"


class KeyPair(models.Model):
    """A key whose certificate is uploaded to ABM; server tokens come encrypted for it."""

    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="key_pairs")
    certificate = models.TextField("certificate (PEM)")
    sealed_key = SealedField("server_token_key")
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"Key pair {self.pk} of {self.server_id}"


class TokenUpload(models.Model):
    """A server token that someone uploaded: kept apart until Apple has accepted it."""

    class State(models.TextChoices):
        CHECKING = "Checking"
        ACCEPTED = "Accepted"
        REFUSED = "Refused"

    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="uploads")
    # Gone once it is decided.
    sealed_token = SealedField("server_token", null=True)
    expires_at = models.DateTimeField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.CHECKING)
    # Why it was refused and what to do, or what it is good for.
    sentence = models.CharField(max_length=500, blank=True)
    uploaded_at = models.DateTimeField(db_default=Now())
    uploaded_by = models.CharField(max_length=200)
    decided_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["server", "-id"], name="abm_upload_latest")]

    def __str__(self) -> str:
        return f"Token for {self.server_id}: {self.state}"


class AbmDevice(models.Model):
    """A serial number on the list of one of our MDM servers, now or once (`removed_at`).

    A device that was moved between two of our servers has a row for each; `current` marks the one
    it belongs to.
    """

    server = models.ForeignKey(
        Server, on_delete=models.CASCADE, db_index=False, related_name="devices"
    )
    device = models.ForeignKey(
        Device, null=True, on_delete=models.SET_NULL, related_name="abm_devices"
    )
    serial_number = models.CharField(max_length=64)
    model = models.CharField(max_length=1000, blank=True, db_default="")
    description = models.CharField(max_length=1000, blank=True, db_default="")
    color = models.CharField(max_length=1000, blank=True, db_default="")
    asset_tag = models.CharField(max_length=1000, blank=True, db_default="")
    device_family = models.CharField(max_length=1000, blank=True, db_default="")
    os = models.CharField("OS", max_length=1000, blank=True, db_default="")
    profile_status = models.CharField(max_length=1000, blank=True, db_default="")
    profile_uuid = models.CharField(max_length=1000, blank=True, db_default="")
    profile_assign_time = models.DateTimeField(null=True)
    profile_push_time = models.DateTimeField(null=True)
    device_assigned_by = models.CharField(max_length=1000, blank=True, db_default="")
    device_assigned_date = models.DateTimeField(null=True)
    mdm_migration_deadline = models.DateTimeField(null=True)
    more = models.JSONField(default=dict, db_default={})

    # The newest operation that was applied, by Apple's clock.
    op_date = models.DateTimeField(null=True)
    # Until when, by Apple's clock, a list or an answer about this very device is known to hold.
    as_of = models.DateTimeField(null=True)
    list_number = models.IntegerField(default=0, db_default=0)
    # What we heard contradicts itself: Apple is asked about this device in the next run.
    doubtful = models.BooleanField(default=False, db_default=False)
    current = models.BooleanField(default=True, db_default=True)
    added_at = models.DateTimeField(null=True)
    changed_at = models.DateTimeField(null=True)
    removed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["serial_number", "server"], name="abm_device_once")
        ]
        indexes = [
            models.Index(
                fields=["server"], name="abm_device_doubtful", condition=models.Q(doubtful=True)
            ),
            # Counting what is listed, of all servers or of each.
            models.Index(
                fields=["server", "current"],
                name="abm_device_listed",
                condition=models.Q(removed_at=None),
            ),
            # Search by any part of what ABM says; names of devices are found in mdm.Device.
            GinIndex(
                OpClass("serial_number", name="gin_trgm_ops"),
                OpClass("asset_tag", name="gin_trgm_ops"),
                OpClass("model", name="gin_trgm_ops"),
                name="abm_device_search",
            ),
        ]

    def __str__(self) -> str:
        return self.serial_number


class SyncRun(models.Model):
    """One run of a server's sync; the counts grow while it goes on."""

    class State(models.TextChoices):
        WAITING = "Waiting"
        RUNNING = "Running"
        FINISHED = "Finished"
        FAILED = "Failed"
        INTERRUPTED = "Interrupted"

    server = models.ForeignKey(
        Server, on_delete=models.CASCADE, db_index=False, related_name="runs"
    )
    full = models.BooleanField(default=False)
    state = models.CharField(max_length=12, choices=State.choices, default=State.WAITING)
    asked_by = models.CharField(max_length=200)
    asked_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True)
    # When the last page was written.
    moved_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    # What it is doing now, in words; "" when it is over.
    doing = models.CharField(max_length=300, blank=True, db_default="")
    pages = models.IntegerField(default=0, db_default=0)
    devices = models.IntegerField(default=0, db_default=0)
    added = models.IntegerField(default=0, db_default=0)
    changed = models.IntegerField(default=0, db_default=0)
    removed = models.IntegerField(default=0, db_default=0)
    ignored = models.IntegerField(default=0, db_default=0)
    # How often Apple had to be asked again.
    errors = models.IntegerField(default=0, db_default=0)
    problem = models.CharField(max_length=20, blank=True, db_default="")
    sentence = models.CharField(max_length=500, blank=True, db_default="")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["server"],
                name="abm_run_one_at_a_time",
                condition=models.Q(state__in=["Waiting", "Running"]),
            )
        ]
        indexes = [models.Index(fields=["server", "-id"], name="abm_run_latest")]

    def __str__(self) -> str:
        return f"Run {self.pk} of {self.server_id}"

    @property
    def over(self) -> bool:
        return self.finished_at is not None


class RunLine(models.Model):
    """A line of a run's log. Append-only."""

    class Level(models.TextChoices):
        INFO = "info"
        WARNING = "warning"
        ERROR = "error"

    run = models.ForeignKey(
        SyncRun, on_delete=models.CASCADE, db_constraint=False, related_name="lines"
    )
    at = models.DateTimeField(db_default=Now())
    level = models.CharField(max_length=10, choices=Level.choices, default=Level.INFO)
    sentence = models.CharField(max_length=500)

    def __str__(self) -> str:
        return self.sentence


class LedgerEntry(models.Model):
    """An operation that Apple sent about a serial number, or a look of ours at it, and what we
    decided. Append-only.
    """

    class Source(models.TextChoices):
        LIST = "list"
        FEED = "feed"
        # An answer to our question about this very device.
        DETAILS = "details"
        # An answer to our wish to disown it; `op_type` is Apple's status, "" where none came.
        DISOWN = "disown"
        OURS = "ours"

    class Decision(models.TextChoices):
        ADDED = "added"
        RETURNED = "returned"
        CHANGED = "changed"
        REMOVED = "removed"
        KEPT = "kept"
        STALE = "stale"
        REPEATED = "repeated"
        SUPERSEDED = "superseded"
        ASKED = "asked"
        UNDECIDED = "undecided"

    server = models.ForeignKey(
        Server, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="ledger"
    )
    serial_number = models.CharField(max_length=64)
    run_id = models.BigIntegerField(null=True)
    page = models.IntegerField(null=True)
    at = models.DateTimeField(db_default=Now())
    source = models.CharField(max_length=10, choices=Source.choices)
    op_type = models.CharField(max_length=1000, blank=True, db_default="")
    op_date = models.DateTimeField(null=True)
    decision = models.CharField(max_length=12, choices=Decision.choices)
    # field: [before, after]
    changes = models.JSONField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["serial_number", "id"], name="abm_ledger_of_serial"),
            # A run's entries lie side by side: this tells where, and is nearly as small as nothing.
            BrinIndex(
                fields=["run_id"],
                name="abm_ledger_of_run",
                pages_per_range=32,
                autosummarize=True,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.serial_number}: {self.decision}"


class Disown(models.Model):
    """Someone's wish that Apple take devices out of the organization for good. It stays, as the
    record of who did what.
    """

    asked_by = models.CharField(max_length=200)
    asked_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"Disown {self.pk}"


class DisownDevice(models.Model):
    """One serial number of a Disown, and what became of it."""

    class State(models.TextChoices):
        WAITING = "Waiting"
        # Apple is being asked. Without an answer nobody knows: it is never asked twice.
        ASKED = "Asked"
        DISOWNED = "Disowned"
        NOT_OURS = "Not ours"
        REFUSED = "Refused"
        UNCLEAR = "Unclear"
        NOT_ASKED = "Not asked"

    disown = models.ForeignKey(
        Disown, on_delete=models.CASCADE, db_index=False, related_name="devices"
    )
    server = models.ForeignKey(
        Server, on_delete=models.CASCADE, db_index=False, related_name="disowned"
    )
    serial_number = models.CharField(max_length=64)
    state = models.CharField(
        max_length=10,
        choices=State.choices,
        default=State.WAITING,
        db_default=State.WAITING.value,
    )
    # Why, where it was not disowned.
    sentence = models.CharField(max_length=500, blank=True, db_default="")
    # When Apple was asked, and when it was settled what became of it.
    asked_at = models.DateTimeField(null=True)
    settled_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["server", "serial_number"],
                name="abm_disown_once_at_a_time",
                condition=models.Q(state__in=["Waiting", "Asked"]),
            )
        ]
        indexes = [models.Index(fields=["disown", "state"], name="abm_disown_state")]

    def __str__(self) -> str:
        return f"{self.serial_number}: {self.state}"
