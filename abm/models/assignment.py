"""Which ADE profile each listed device should have, and what Apple was told of it."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from abm.models.devices import AbmDevice
from abm.models.servers import Server
from mdm.secrets import SealedField


class Definition(models.Model):
    """An ADE profile as one server has, or is to have, it defined at Apple; immutable there.

    `reference` is the number that the app above knows it by.
    """

    class State(models.TextChoices):
        WAITING = "Waiting", "To be defined"
        DEFINED = "Defined"
        REFUSED = "Refused"

    server = models.ForeignKey(
        Server, on_delete=models.CASCADE, db_index=False, related_name="definitions"
    )
    reference = models.BigIntegerField()
    name = models.CharField(max_length=300)
    # The JSON of POST /profile. The address in it carries a secret.
    sealed_document = SealedField("ade_profile")
    profile_uuid = models.CharField("profile UUID", max_length=100, blank=True, db_default="")
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    # Apple's word where it refused, such as "LOCALE_INVALID".
    refusal = models.CharField(max_length=300, blank=True, db_default="")
    created_at = models.DateTimeField(db_default=Now())
    asked_at = models.DateTimeField(null=True)
    defined_at = models.DateTimeField(null=True)
    retry_at = models.DateTimeField(null=True)
    # Apple's copy, as someone last had it fetched; and why it could not be.
    sealed_copy = SealedField("ade_profile", null=True)
    copy_asked_at = models.DateTimeField(null=True)
    copied_at = models.DateTimeField(null=True)
    copy_problem = models.CharField(max_length=500, blank=True, db_default="")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["server", "reference"], name="abm_definition_once")
        ]
        indexes = [models.Index(fields=["profile_uuid"], name="abm_definition_uuid")]

    def __str__(self) -> str:
        return self.name


class Wish(models.Model):
    """Which profile a listed device should have: one of ours, or none. The app above writes it;
    what Apple answered to it is written here by `abm/assignment.py`. A device that leaves the list
    loses its wish, and with it all that was believed.
    """

    listed = models.OneToOneField(
        AbmDevice, primary_key=True, on_delete=models.CASCADE, related_name="wish"
    )
    server = models.ForeignKey(
        Server, on_delete=models.CASCADE, db_index=False, related_name="wishes"
    )
    definition = models.ForeignKey(
        Definition, null=True, on_delete=models.RESTRICT, related_name="wishes"
    )
    # Why, in the words of the app above: the kind of rule, and which one of that kind.
    rule = models.CharField(max_length=10, blank=True, db_default="")
    rule_id = models.BigIntegerField(null=True)
    changed_at = models.DateTimeField(db_default=Now())

    # How often Apple was told this wish lately, when last, what it said, and from when on it may
    # be told again.
    tries = models.SmallIntegerField(default=0, db_default=0)
    tried_at = models.DateTimeField(null=True)
    answer = models.CharField(max_length=1000, blank=True, db_default="")
    retry_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "wishes"
        indexes = [
            models.Index(fields=["server"], name="abm_wish_of_server"),
            models.Index(
                fields=["listed"], name="abm_wish_unassigned", condition=models.Q(definition=None)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.listed_id}: {self.definition_id or 'none'}"


class Assigning(models.Model):
    """A stretch of telling one server's profiles to Apple, from the first difference to the last.
    The counts grow while it goes on.
    """

    server = models.ForeignKey(
        Server, on_delete=models.CASCADE, db_index=False, related_name="assignings"
    )
    began_at = models.DateTimeField(db_default=Now())
    moved_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    requests = models.IntegerField(default=0, db_default=0)
    # How many devices' answers were which.
    succeeded = models.IntegerField(default=0, db_default=0)
    refused = models.IntegerField(default=0, db_default=0)
    sentence = models.CharField(max_length=500, blank=True, db_default="")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["server"],
                name="abm_assigning_one_at_a_time",
                condition=models.Q(finished_at=None),
            )
        ]
        indexes = [models.Index(fields=["server", "-id"], name="abm_assigning_latest")]

    def __str__(self) -> str:
        return f"Assigning {self.pk} of {self.server_id}"
