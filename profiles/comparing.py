"""How Apple's copy of a profile differs from what was sent, as a worker fetched it last
(`abm/copies.py`).
"""

from __future__ import annotations

import json

from django.db.models import QuerySet

from abm.assignment import PURPOSE
from abm.models import Definition
from mdm import secrets
from profiles.models import Profile
from profiles.wire import content

# Addresses that carry a secret: that they differ is enough.
_SECRET = {"url", "configuration_web_url"}


def definitions(profile: Profile) -> QuerySet[Definition]:
    """What servers have, or are to have, of all versions of a profile, the newest first."""
    rows = Definition.objects.filter(reference__in=profile.versions.values("pk"))
    return rows.select_related("server").order_by("-pk")


def differences(definition: Definition) -> list[content.Difference]:
    """What Apple has otherwise; nothing where no copy was fetched."""
    if definition.sealed_copy is None:
        return []
    sent = json.loads(secrets.unseal(PURPOSE, definition.sealed_document))
    answer = json.loads(secrets.unseal(PURPOSE, definition.sealed_copy))
    return [_masked(each) for each in content.differences_at_apple(sent, answer)]


def _masked(difference: content.Difference) -> content.Difference:
    if difference.key not in _SECRET:
        return difference
    return content.Difference(
        key=difference.key, label=difference.label, before="another address", after="its own"
    )
