"""The devices that each server lists, and every operation that Apple sent about them."""

from __future__ import annotations

from django.contrib.postgres.indexes import BrinIndex, GinIndex, OpClass
from django.db import models
from django.db.models.functions import Now

from abm.models.servers import Server
from mdm.models import Device


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
        # The same to our wish that it have a profile, or none.
        ASSIGN = "assign"
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
