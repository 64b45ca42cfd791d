"""People and the tokens of API clients. What they may do is checked in the domain (mdm/audit)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib.auth.models import AbstractUser, UserManager
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone
from knox.models import AbstractAuthToken

from mdm.accounts.rights import Held, Role
from mdm.secrets import SealedField


class PeopleManager(UserManager["User"]):
    """As Django's; whoever is made a superuser is an admin here."""

    def create_superuser(self, *args: Any, **kwargs: Any) -> User:
        user = super().create_superuser(*args, **kwargs)
        Grant.objects.create(user=user, role=Role.ADMIN, given_by="createsuperuser")
        return user


class User(AbstractUser):
    """A person who signs in to the dashboard."""

    email = models.EmailField("mail address", unique=True)
    # Since when nobody else can have got hold of this account by a link that an admin handed out:
    # who approves what others ask for has had it for a while.
    trusted_since = models.DateTimeField(default=timezone.now)

    REQUIRED_FIELDS = ["email"]

    objects = PeopleManager()  # type: ignore[misc]

    def __str__(self) -> str:
        return self.get_full_name() or self.username

    def held(self) -> tuple[Held, ...]:
        """The roles that this person holds at this moment."""
        return tuple(grant.held for grant in self.grants.current())


class Grants(models.QuerySet["Grant"]):
    """Grants, and those among them that hold now."""

    def current(self) -> Grants:
        now = timezone.now()
        lasting = models.Q(expires_at=None) | models.Q(expires_at__gt=now)
        return self.filter(lasting, ended_at=None)


class Grant(models.Model):
    """A role that someone was given: everywhere or for the devices of one group, for good or until
    some moment; with the destructive commands (request types) that come with it beyond the role.
    """

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="grants")
    role = models.CharField(max_length=10, choices=Role.choices)
    # Whoever has a role for the devices of a group has it for none when the group goes.
    group = models.ForeignKey(
        "mdm.Group", null=True, blank=True, on_delete=models.CASCADE, related_name="grants"
    )
    also = models.JSONField(default=list, db_default=[])
    reason = models.CharField(max_length=200, blank=True, db_default="")
    # "" where someone here gave it; "oidc:<id>" where it follows someone's groups at an identity
    # provider (mdm/accounts/federation.py).
    source = models.CharField(max_length=60, blank=True, default="", db_default="")
    given_at = models.DateTimeField(db_default=Now())
    given_by = models.CharField(max_length=200)
    expires_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    ended_by = models.CharField(max_length=200, blank=True, db_default="")

    objects = Grants.as_manager()

    def __str__(self) -> str:
        limit = f" for {self.group}" if self.group_id else ""
        return f"{Role(self.role).label}{limit}"

    def holds(self, now: datetime) -> bool:
        """Whether it holds at that moment."""
        return self.ended_at is None and (self.expires_at is None or self.expires_at > now)

    @property
    def held(self) -> Held:
        return Held(Role(self.role), self.group_id, frozenset(self.also))


class ApiToken(AbstractAuthToken):
    """A token of an API client: stored as a digest, named, expiring; it may do what its role may,
    for its group's devices where it has one, and never more than its owner.
    """

    name = models.CharField(max_length=100)
    role = models.CharField(max_length=10, choices=Role.choices)
    group = models.ForeignKey(
        "mdm.Group", null=True, blank=True, on_delete=models.CASCADE, related_name="tokens"
    )
    last_used_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.name


class KeptAnswer(models.Model):
    """What the API answered to a request with an idempotency key, for a day
    (mdm/accounts/once.py). `name` is a digest of the key and of whose it is, `request` one of what
    was asked. `sealed` is null where the answer was too large.
    """

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    name = models.BinaryField(unique=True)
    request = models.BinaryField()
    status = models.PositiveSmallIntegerField()
    sealed = SealedField("kept-answer", null=True)
    size = models.PositiveIntegerField()
    at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.status}, {self.at:%Y-%m-%d %H:%M}"
