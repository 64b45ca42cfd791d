"""Profiles and their versions: made, changed, applied, archived.

A version is never changed. A change is written as a draft, looked at, and applied: from then on it
is what devices get, in the background, when `resolution.py` has followed.
"""

from __future__ import annotations

import hashlib
import secrets as random
from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Max
from django.utils import timezone

from mdm.audit.actor import Actor
from mdm.audit.record import allow, record
from mdm.secrets import seal, unseal
from profiles import following
from profiles.errors import BadProfile, NotNow
from profiles.models import Default, Profile, Version
from profiles.wire import content as wire

LEAST_MINUTES, MOST_MINUTES = 1, 24 * 60
_SECRET_BYTES = 24


def create(
    actor: Actor,
    name: str,
    content: Mapping[str, object],
    *,
    signs_in: bool = False,
    await_minutes: int = 30,
) -> Profile:
    """A profile with its first version, applied: nobody has it yet. Raises NotAllowed,
    BadProfile.
    """
    allow(actor, "profile.edit")
    cleaned, errors = _cleaned(content, await_minutes)
    try:
        name = wire.check_name(name)
    except ValueError as error:
        errors["name"] = [str(error)]
    if errors:
        raise BadProfile(errors)
    with transaction.atomic():
        profile = _named(Profile(created_by=actor.name), name)
        version = _write(actor, profile, cleaned, signs_in, await_minutes)
        _use(actor, version)
        _record(actor, "profile.create", profile, after={"name": name, "content": _shown(cleaned)})
    return profile


def draft(
    actor: Actor,
    profile: Profile,
    content: Mapping[str, object],
    *,
    signs_in: bool = False,
    await_minutes: int = 30,
) -> Version:
    """The next version, for a look at it; it takes the place of an earlier draft. Raises
    NotAllowed, BadProfile, and NotNow where it says what the current version says.
    """
    allow(actor, "profile.edit")
    cleaned, errors = _cleaned(content, await_minutes)
    if errors:
        raise BadProfile(errors)
    with transaction.atomic():
        held = _held(profile)
        now = held.current
        if now is not None and _same(now, cleaned, signs_in, await_minutes):
            raise NotNow("Nothing was changed: it says what the current version says.")
        held.versions.filter(applied_at=None).delete()
        made = _write(actor, held, cleaned, signs_in, await_minutes)
        _record(actor, "profile.draft", profile, after={"version": made.number})
    return made


def apply(actor: Actor, version: Version) -> Profile:
    """Let devices have this version from now on. A version that was in use before may be applied
    again. Raises NotAllowed, NotNow.
    """
    allow(actor, "profile.apply")
    with transaction.atomic():
        profile = _held(version.profile)
        if not profile.versions.filter(pk=version.pk).exists():
            raise NotNow("This draft was discarded or replaced meanwhile. Look at the newest one.")
        if profile.current_id == version.pk:
            raise NotNow("This version is the current one already.")
        before = profile.current.number if profile.current else None
        version.refresh_from_db()
        _use(actor, version)
        _record(
            actor,
            "profile.apply",
            profile,
            before={"version": before},
            after={"version": version.number},
        )
        following.tell_everything()
        following.publish()
    profile.refresh_from_db()
    return profile


def discard(actor: Actor, version: Version) -> None:
    """Throw a draft away. Raises NotAllowed, NotNow."""
    allow(actor, "profile.edit")
    with transaction.atomic():
        if not version.profile.versions.filter(pk=version.pk, applied_at=None).delete()[0]:
            raise NotNow("A version that was applied stays, as the record of what devices got.")
        _record(actor, "profile.discard", version.profile, before={"version": version.number})


def rename(actor: Actor, profile: Profile, name: str) -> None:
    """Another name here; Apple hears of it with the next version. Raises NotAllowed, BadProfile."""
    allow(actor, "profile.edit")
    try:
        name = wire.check_name(name)
    except ValueError as error:
        raise BadProfile({"name": [str(error)]}) from None
    with transaction.atomic():
        held = _held(profile)
        before = held.name
        if before != name:
            _named(held, name)
            _record(actor, "profile.rename", held, before={"name": before}, after={"name": name})
    profile.name = name


def duplicate(actor: Actor, profile: Profile) -> Profile:
    """Another profile that says the same, given to nobody. Raises NotAllowed."""
    allow(actor, "profile.edit")
    said = profile.current or profile.versions.latest("number")
    taken = {each.lower() for each in Profile.objects.values_list("name", flat=True)}
    names = (f"{profile.name[:110]} copy{f' {n}' if n > 1 else ''}" for n in range(1, 10_000))
    name = next(each for each in names if each.lower() not in taken)
    return create(
        actor, name, said.content, signs_in=said.signs_in, await_minutes=said.await_minutes
    )


def archive(actor: Actor, profile: Profile) -> None:
    """Put a profile away that no rule names. Devices that carry it may still enroll with it.
    Raises NotAllowed, NotNow.
    """
    allow(actor, "profile.edit")
    with transaction.atomic():
        held = _held(profile)
        users = uses(held)
        if users:
            raise NotNow(f"It is in use: {', '.join(users)}. Give them another profile first.")
        if held.archived_at is None:
            held.archived_at, held.archived_by = timezone.now(), actor.name
            held.save(update_fields=["archived_at", "archived_by"])
            _record(actor, "profile.archive", held)
    profile.refresh_from_db()


def restore(actor: Actor, profile: Profile) -> None:
    """Bring an archived profile back. Raises NotAllowed, BadProfile where its name is taken."""
    allow(actor, "profile.edit")
    with transaction.atomic():
        held = _held(profile)
        if held.archived_at is not None:
            held.archived_at, held.archived_by = None, ""
            _named(held, held.name)
            _record(actor, "profile.restore", held)
    profile.refresh_from_db()


def uses(profile: Profile) -> list[str]:
    """What gives this profile to devices, in words."""
    devices = profile.devices.count()
    found = [f"group {each.group}" for each in profile.groups.select_related("group")]
    found += [
        f"default of {each.get_os_display()}{f' on {each.server}' if each.server else ''}"
        for each in profile.defaults.filter(Default.speaks())
        .select_related("server")
        .order_by("pk")
    ]
    if devices:
        found.append("1 device of its own" if devices == 1 else f"{devices:,} devices of their own")
    return found


def secret_of(version: Version) -> str:
    """The secret that devices with this version enroll with."""
    return unseal("ade_secret", version.sealed_secret).decode()


def by_secret(secret: str) -> Version | None:
    """The version whose address carries this secret."""
    rows = Version.objects.select_related("profile")
    return rows.filter(secret_sha256=_hash(secret)).first()


# --- Inside --------------------------------------------------------------------------------------


def _cleaned(
    content: Mapping[str, object], await_minutes: int
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    errors: dict[str, list[str]] = {}
    cleaned: dict[str, Any] = {}
    try:
        cleaned = wire.clean(content)
    except wire.BadContent as bad:
        errors = {key: list(said) for key, said in bad.errors.items()}
    if not LEAST_MINUTES <= await_minutes <= MOST_MINUTES:
        errors["await_minutes"] = [f"Give {LEAST_MINUTES} to {MOST_MINUTES:,} minutes."]
    return cleaned, errors


def _write(
    actor: Actor, profile: Profile, content: dict[str, Any], signs_in: bool, await_minutes: int
) -> Version:
    newest = profile.versions.aggregate(number=Max("number"))["number"] or 0
    secret = random.token_urlsafe(_SECRET_BYTES)
    return Version.objects.create(
        profile=profile,
        number=newest + 1,
        content=content,
        signs_in=signs_in,
        await_minutes=await_minutes,
        secret_sha256=_hash(secret),
        sealed_secret=seal("ade_secret", secret.encode()),
        created_by=actor.name,
    )


def _use(actor: Actor, version: Version) -> None:
    if version.applied_at is None:
        version.applied_at, version.applied_by = timezone.now(), actor.name
        version.save(update_fields=["applied_at", "applied_by"])
    Profile.objects.filter(pk=version.profile_id).update(current=version)
    version.profile.current = version


def _same(now: Version, content: dict[str, Any], signs_in: bool, await_minutes: int) -> bool:
    return (now.content, now.signs_in, now.await_minutes) == (content, signs_in, await_minutes)


def _held(profile: Profile) -> Profile:
    """The row as it is now, until the transaction ends."""
    return (
        Profile.objects.select_for_update(of=("self",)).select_related("current").get(pk=profile.pk)
    )


def _named(profile: Profile, name: str) -> Profile:
    profile.name = name
    try:
        with transaction.atomic():
            profile.save()
    except IntegrityError:
        raise BadProfile({"name": ["Another profile has this name."]}) from None
    return profile


def _shown(content: Mapping[str, Any]) -> dict[str, Any]:
    """For the audit: what is said, without the bytes of certificates."""
    return {
        key: f"{len(value)} certificates" if key.endswith("_certs") and value else value
        for key, value in content.items()
    }


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="replace")).digest()


def _record(actor: Actor, action: str, profile: Profile, **more: Mapping[str, object]) -> None:
    record(actor, action, subject_kind="profile", subject_id=profile.pk, **more)
