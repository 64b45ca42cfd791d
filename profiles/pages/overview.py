"""What profiles add to the overview: what needs someone, and the number of unassigned devices."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Exists, OuterRef
from django.urls import reverse
from django.utils import timezone

from abm.differences import counts_of
from abm.models import Definition, Wish
from abm.servers import connected
from mdm.navigation import Attention, Number
from profiles import selectors
from profiles.models import Default


def unassigned_number() -> Number:
    return Number(
        "Unassigned",
        selectors.unassigned().count(),
        "circle-dashed",
        "in ABM, no ADE profile",
        f"{reverse('abm:devices')}?assignment=unassigned",
    )


def unassigned_attention() -> Iterable[Attention]:
    """Devices in ABM for which no rule has a profile."""
    count = selectors.unassigned().count()
    if count:
        devices = "1 device is" if count == 1 else f"{count:,} devices are"
        names = selectors.systems_without_default()
        missing = f" There is no default for {', '.join(names)}." if names else ""
        yield Attention(
            what=f"{devices} Unassigned.",
            why="They are in Apple Business Manager and no rule gives them a profile, so they do"
            f" not enroll by themselves.{missing}",
            button="Show them",
            url=f"{reverse('abm:devices')}?assignment=unassigned",
        )


def waiting_attention() -> Iterable[Attention]:
    """Devices whose profile Apple was told and did not take, and profiles that it refuses."""
    now = timezone.now()
    servers = list(connected().exclude(sealed_token=None))
    differing = counts_of([server.pk for server in servers], now) if servers else {}
    for server in servers:
        found = differing[server.pk]
        if server.assigning_paused_at is not None and found.total:
            yield Attention(
                what=f"The assignment for {server} is paused; {_devices(found.total)} for it.",
                why=f"{server.assigning_paused_by} paused it. Until it is resumed nobody gets"
                " another profile.",
                button="Open the assignment",
                url=reverse("abm:assignment", args=[server.pk]),
            )
        elif found.cooling:
            yield Attention(
                what=f"{_devices(found.cooling)} for Apple to take the profile.",
                why="Apple was told and did not do it. Each is tried again by itself, at its own"
                " time.",
                button="Show them",
                url=f"{reverse('abm:devices')}?assignment=cooling&server={server.pk}",
            )
    for definition in _refused():
        waiting = definition.wishes.count()
        yield Attention(
            what=f"Apple refuses to define {definition.name}: {definition.refusal}.",
            why=f"{_devices(waiting)} for it on {definition.server}.",
            button="Open the profile",
            url=reverse("profiles:by_version", args=[definition.reference]),
            tone="danger",
        )


def misfit_attention() -> Iterable[Attention]:
    """Defaults whose profile is not made for all devices that get it."""
    shared = Default.objects.filter(profile__current__content__is_multi_user=True)
    for each in shared.select_related("profile", "server").order_by("pk"):
        rows = Wish.objects.filter(rule="default", rule_id=each.pk)
        if each.os == Default.OS.IOS:
            rows = rows.exclude(listed__device_family="iPad")
        count = rows.count()
        if count:
            where = f" on {each.server}" if each.server else ""
            devices = "1 device gets" if count == 1 else f"{count:,} devices get"
            yield Attention(
                what=f"{devices} the wrong profile.",
                why=f"{each.profile} is the default for {each.get_os_display()}{where}, and these"
                " are no iPads: they get a profile that is not made for them.",
                button="Change the default",
                url=reverse("profiles:defaults"),
            )


def _devices(count: int) -> str:
    return "1 device waits" if count == 1 else f"{count:,} devices wait"


def _refused() -> Iterable[Definition]:
    return (
        Definition.objects.filter(
            Exists(Wish.objects.filter(definition=OuterRef("pk"))),
            state=Definition.State.REFUSED,
            server__disconnected_at=None,
        )
        .select_related("server")
        .order_by("pk")[:5]
    )
