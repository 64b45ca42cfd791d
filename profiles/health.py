"""The probe of the default ADE profile: there is one, and Apple took it where devices get it."""

from __future__ import annotations

from django.db.models import Exists, OuterRef

from abm.models import Definition, Wish
from mdm.health import probes
from mdm.health.probes import Found, Probe
from profiles import selectors
from profiles.models import Default


def register() -> None:
    probes.register(
        Probe(
            name="ade_default",
            label="Default ADE profile",
            why="Then every new device gets it without anybody doing anything.",
            look=look,
            order=50,
            button="Set the defaults",
            url_name="profiles:defaults",
            right="profile.give",
        )
    )


def look(asked_by: int | None) -> Found:
    """Whether each OS of devices in ABM has a default, and Apple took those that devices get."""
    defaults = list(
        Default.objects.filter(Default.speaks())
        .select_related("profile", "server")
        .order_by("os", "pk")
    )
    if not defaults:
        return Found(False, "No OS has a default yet: new devices are Unassigned.")
    missing = selectors.systems_without_default()
    if missing:
        return Found(False, f"Devices wait that run {' and '.join(missing)}: it has no default.")
    stuck = [words for each in defaults if (words := _trouble(each))]
    if stuck:
        return Found(False, " ".join(stuck[:3]))
    names = "; ".join(
        f"{each.get_os_display()}{f' on {each.server}' if each.server else ''}: {each.profile}"
        for each in defaults[:6]
    )
    return Found(True, f"{names}. Apple has each that devices get.")


def _trouble(default: Default) -> str:
    """Why devices that should get this default cannot; "" where they can, or where none should."""
    definition = (
        Definition.objects.filter(
            Exists(Wish.objects.filter(definition=OuterRef("pk"), rule="default")),
            reference=default.profile.current_id or 0,
            server__disconnected_at=None,
        )
        .exclude(state=Definition.State.DEFINED)
        .select_related("server")
        .first()
    )
    if definition is None:
        return ""
    if definition.state == Definition.State.REFUSED:
        return (
            f"Apple refuses {default.profile}: {definition.refusal}. Change it and apply it anew."
        )
    return f"Apple has not been told of {default.profile} for {definition.server} yet."
