"""People and the tokens of API clients. What they may do is checked in the domain (mdm/audit)."""

from __future__ import annotations

from django.contrib.auth.models import AbstractUser
from django.db import models
from knox.models import AbstractAuthToken


class User(AbstractUser):
    """A person who signs in to the dashboard."""

    email = models.EmailField("mail address", unique=True)

    REQUIRED_FIELDS = ["email"]

    def __str__(self) -> str:
        return self.get_full_name() or self.username


class ApiToken(AbstractAuthToken):
    """A token of an API client: stored as a digest, named, expiring, scoped."""

    name = models.CharField(max_length=100)
    scopes = models.JSONField(default=list, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.name
