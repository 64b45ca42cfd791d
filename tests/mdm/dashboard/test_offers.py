"""What someone may not do is not offered to them: on no page they may open is there a form, a
button or a link that they would be refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from urllib.parse import urljoin, urlsplit

import pytest
from allauth.usersessions.models import UserSession
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpResponse
from django.test import Client
from django.urls import resolve
from django.utils import timezone
from lxml import html

from abm import servers
from abm.models import AbmDevice, Definition, Disown, DisownDevice, Server, SyncRun, TokenUpload
from commands import queue
from commands.models import Approval, Command, Pause, QueueEntry
from enrollment import links
from enrollment.models import Arrival, EnrollmentLink, Holding, RefusedArrival
from mdm.accounts.models import ApiToken, Grant, User
from mdm.accounts.rights import BY_NAME, Held, Role
from mdm.audit.models import AuditEvent
from mdm.health.models import ProbeResult
from mdm.models import Device, Enrollment, Group, NamedView, Quarantine
from mdm.webhooks import subscriptions
from mdm.webhooks.models import Delivery, Subscription
from mdm.webhooks.outbox import emit
from profiles import editing, following, giving, groups
from profiles.models import Profile
from profiles.wire.content import new_content
from tests.abm.pages.conftest import Connect, Listed, Noted, connect, listed, noted
from tests.machines import Machine
from tests.mdm.dashboard.conftest import Enroll
from tests.people import addresses
from tests.profiles.steps import ADMIN, make_profile

__all__ = ["connect", "listed", "noted"]

pytestmark = pytest.mark.django_db

# Pages that need nothing to be there.
PLAIN = (
    *(
        "/",
        "/search/?q=0000",
        "/work/",
        "/devices/",
        "/commands/",
        "/commands/catalog/",
        "/commands/running",
    ),
    *("/commands/approvals/", "/commands/approvals/pause/", "/commands/approvals/resume/"),
    *("/abm/devices/", "/abm/devices/import/", "/abm/devices/disowns/", "/abm/assignment/"),
    *("/abm/sync", "/abm/running", "/abm/runs/", "/abm/servers/", "/abm/servers/new/"),
    *("/ade-profiles/", "/ade-profiles/new/", "/ade-profiles/defaults/"),
    *("/groups/", "/groups/new/", "/groups/new-smart/", "/groups/count"),
    *("/enrollment/links/", "/enrollment/links/new/", "/enrollment/arrivals/"),
    *("/enrollment/arrivals/refused/", "/enrollment/arrivals/settings/"),
    *("/enrollment/refused/", "/enrollment/quarantine/", "/enrollment/identities/"),
    "/settings/push-certificate/",
    *("/settings/people/", "/settings/people/invite/", "/settings/people/roles/"),
    *("/settings/tokens/", "/settings/tokens/new/", "/settings/audit/"),
    *("/settings/webhooks/", "/settings/webhooks/new/"),
    *("/settings/health/", "/settings/health/checks", "/settings/health/backup/dismiss/"),
    "/settings/audit/refused/",
)
# Files: nobody is offered anything in them.
FILES = {
    *("devices_export", "abm:devices_export", "abm:devices_serials", "abm:certificate"),
    *("abm:import_unknown", "abm:import_problems", "audit_export", "audit_refused_export"),
    "identities_export",
}
# What is offered beside the message of an act, to undo it (test_undo.py).
AFTERWARDS = {"view_restore", "profiles:group_put_back", "profiles:group_take_out"}
# What has rights of another kind, or none.
OTHERS = ("accounts/", "api/", "enroll/", "ade/", "lab/")


@pytest.fixture
def world(
    enroll: Enroll, machine: Machine, connect: Connect, listed: Listed, noted: Noted
) -> Device:
    """One of everything that a page shows, and the device that has the most of it."""
    device = enroll("S1")
    enroll("S2", retired_at=timezone.now())
    held = Enrollment.objects.get(pk=device.enrollment_id)
    Enrollment.objects.filter(pk=held.pk).update(awaiting_configuration=True)
    later = timezone.now() + timedelta(hours=1)
    Holding.objects.create(enrollment=held, limit_at=later)
    for request_type in ("ProfileList", "EraseDevice"):
        queue.enqueue(ADMIN, request_type=request_type, parameters={}, enrollments=[held.pk])
    command = Command.objects.get(request_type="EraseDevice")
    Command.objects.filter(pk=command.pk).update(held=True)
    Approval.objects.create(command=command, because="x", expires_at=later)
    Pause.objects.create(began_by="x")
    Machine.new(udid=machine.udid, serial_number=machine.serial_number).authenticate()
    links.create(ADMIN, name="Class 7b", serial_number="S1")
    ProbeResult.objects.create(name="mail", dismissed_at=timezone.now(), dismissed_because="x")
    User.objects.create_user("gone", "gone@example.com", is_active=False)
    _session()
    _webhooks()
    _at_apple(connect, listed, noted)
    _profiles()
    return device


def _session() -> None:
    """Someone else is signed in."""
    there = SessionStore()
    there.create()
    other = User.objects.create_user("there", "there@example.com")
    UserSession.objects.create(
        user=other, session_key=there.session_key, ip="10.0.0.1", user_agent="A browser"
    )


def _webhooks() -> None:
    on, off = (
        subscriptions.create(ADMIN, name=name, url="https://hook.example/", kinds=["device.*"])[0]
        for name in ("On", "Off")
    )
    subscriptions.switch(ADMIN, off, False)
    test = subscriptions.test(ADMIN, on)
    event = emit("device.retired", "1", {"serial_number": "S1", "udid": "", "name": ""})
    for each in (test.event, event):
        Delivery.objects.update_or_create(
            subscription=on, event=each, defaults={"at": each.at, "state": "failed", "due_at": None}
        )


def _at_apple(connect: Connect, listed: Listed, noted: Noted) -> None:
    office = connect("Office", problem="rejected", assigning_paused_at=timezone.now())
    school = connect("School")
    servers.create(ADMIN, "New")
    TokenUpload.objects.create(
        server=office,
        sealed_token=b"",
        expires_at=timezone.now(),
        uploaded_by="x",
        state=TokenUpload.State.REFUSED,
    )
    run = SyncRun.objects.create(server=school, asked_by="x")
    for serial, server in (("S1", school), ("S2", school), ("S3", office)):
        listed(serial, server)
        noted(server, serial, "added", run_id=run.pk)
    DisownDevice.objects.create(
        disown=Disown.objects.create(asked_by="x"), server=school, serial_number="S2"
    )


def _profiles() -> None:
    first, _, shelved = (make_profile(name) for name in ("Office", "Spare", "Shelved"))
    giving.set_default(ADMIN, "iOS", None, first)
    picked = groups.create_static(ADMIN, "Picked", ["S1"])
    groups.create_smart(
        ADMIN,
        "Smart",
        {"match": "all", "conditions": [{"field": "family", "op": "is", "value": "iPad"}]},
    )
    giving.give_group(ADMIN, picked, first)
    following.follow()
    Definition.objects.update(state=Definition.State.DEFINED, profile_uuid="5E6F")
    editing.draft(ADMIN, first, {**new_content(), "department": "IT"})
    editing.archive(ADMIN, shelved)
    Arrival.objects.create(serial_number="S1", version=first.current)
    RefusedArrival.objects.create(serial_number="S9", reason="not_listed", sentence="x")


def _pages(device: Device) -> list[str]:
    """Every page about something, for one of each at least."""
    send = f"/commands/send/?enrollment={device.enrollment_id}"
    entry = QueueEntry.objects.earliest("pk")
    run = SyncRun.objects.earliest("pk").pk
    first = Profile.objects.earliest("pk")
    profile = f"/ade-profiles/{first.pk}/"
    compared = Definition.objects.get(reference=first.current_id, server__name="School")
    people = User.objects.order_by("is_active", "pk")[:3]
    about_device = (
        *("", "timeline/", "inventory/", "commands/", "identity/", "abm/", "profile/"),
        "audit/",
        *("live/timeline/", "live/abm/", "retire/", "release/", "remove-management/", "delete/"),
    )
    return [
        *(f"/devices/{device.pk}/{page}" for page in about_device),
        *(f"/devices/{each.pk}/" for each in Device.objects.exclude(pk=device.pk)),
        *(send, f"{send}&type=ProfileList", f"{send}&type=EraseDevice"),
        *(f"/commands/{each.uuid}/" for each in Command.objects.all()),
        f"/commands/entries/{entry.pk}/",
        *(f"/abm/servers/{each.pk}/" for each in Server.objects.all()),
        f"/abm/servers/{Server.objects.earliest('pk').pk}/disconnect/",
        *(f"/abm/assignment/{each.pk}/" for each in Server.objects.all()),
        *(f"/abm/runs/{run}/", f"/abm/runs/{run}/devices/"),
        *(f"/abm/devices/disowns/{each.pk}/" for each in Disown.objects.all()),
        *(f"/ade-profiles/{each.pk}/" for each in Profile.objects.all()),
        *(f"{profile}versions/{each.number}/" for each in first.versions.all()),
        *(f"{profile}edit/", f"{profile}apple/{compared.pk}/"),
        f"/ade-profiles/version-{compared.reference}/",
        *(f"/groups/{each.pk}/" for each in Group.objects.all()),
        f"/groups/{Group.objects.earliest('pk').pk}/delete/",
        *(f"/groups/{each.pk}/rule/" for each in Group.objects.filter(kind="smart")),
        *(f"/enrollment/links/{each.pk}/" for each in EnrollmentLink.objects.all()),
        f"/settings/audit/{AuditEvent.objects.earliest('pk').pk}/",
        *(f"/enrollment/quarantine/{each.pk}/" for each in Quarantine.objects.all()),
        *(f"/settings/people/{each.pk}/" for each in people),
        *(f"/settings/people/{each.pk}/deactivate/" for each in people[:1]),
        *(
            f"/settings/webhooks/{each.pk}/{page}"
            for each in Subscription.objects.all()
            for page in ("", "change/", "delete/")
        ),
        *(
            f"/settings/webhooks/{each.subscription_id}/deliveries/{each.pk}/"
            for each in Delivery.objects.all()
        ),
    ]


def _chosen(client: Client) -> Iterator[str]:
    """Pages about a selection, which whoever may make it comes to."""
    ids = ",".join(str(pk) for pk in AbmDevice.objects.values_list("pk", flat=True))
    profile = Profile.objects.earliest("pk").pk
    for path, form, more in (
        ("/abm/devices/import/", {"pasted": "S1\nS9\n?"}, ""),
        ("/abm/devices/send", {"ids": ids}, "&type=ProfileList"),
        ("/abm/devices/disowns/choose", {"ids": ids}, ""),
        ("/ade-profiles/choose", {"ids": ids}, f"&profile={profile}"),
    ):
        answer = client.post(path, form)
        if answer.status_code == 302:
            yield answer["Location"] + more


# --- What a page offers --------------------------------------------------------------------------


def _offers(page: html.HtmlElement) -> Iterator[tuple[str, str]]:
    """Method and address of every link and form, and of what htmx asks for."""
    for link in page.iter("a"):
        yield "GET", link.get("href", "")
    for method in ("get", "post"):
        for element in page.xpath(f"//*[@hx-{method}]"):
            yield method.upper(), element.get(f"hx-{method}")
    for form in page.iter("form"):
        buttons = list(_buttons(page, form))
        if not buttons and form.get("hidden") is None:
            buttons = [form]
        for button in buttons:
            address = button.get("formaction") or form.get("action") or ""
            yield form.get("method", "get").upper(), address


def _buttons(page: html.HtmlElement, form: html.HtmlElement) -> Iterator[html.HtmlElement]:
    """What submits a form: buttons in it, and those anywhere that name it."""
    for button in page.iter("button"):
        if button.get("type", "submit") != "submit":
            continue
        owner = button.get("form")
        if owner == form.get("id") if owner else form in button.iterancestors("form"):
            yield button


def _refused(offered: tuple[str, str], held: Held) -> str:
    """Why someone who holds this role could not follow it; "" where they can."""
    method, address = offered
    rights = getattr(resolve(urlsplit(address).path).func, "rights", None)
    if rights is None:
        return ""
    if method not in rights:
        return "nothing answers it"
    return "" if held.has(BY_NAME[rights[method]]) else f"it takes {rights[method]}"


class Visit:
    """One person's way through the pages: where they were let in, and what they were offered."""

    def __init__(self, held: Held) -> None:
        self.held = held
        self.name = held.role.value if held.group is None else f"{held.role.value}-of-a-group"
        # Whoever got here just now could not approve what others asked for.
        since = timezone.now() - timedelta(days=9)
        user = User.objects.create_user(self.name, f"{self.name}@example.com", trusted_since=since)
        Grant.objects.create(
            user=user, role=held.role, group_id=held.group, given_by="test", given_at=since
        )
        ApiToken.objects.create(
            user=user, name="x", role=held.role, group_id=held.group, expiry=timedelta(days=1)
        )
        self.view = NamedView.objects.create(owner=user, table="devices", name="Mine").pk
        self.client = Client()
        self.client.force_login(user)
        self.seen: set[str] = set()
        self.posts: set[str] = set()
        self.faults: set[tuple[str, ...]] = set()

    def see(self, paths: Iterable[str]) -> None:
        """Look at those of the pages that this person may open."""
        for path in paths:
            if _refused(("GET", path), self.held):
                continue
            answer = self.client.get(path)
            assert answer.status_code < 500, path
            if answer.status_code in {200, 302}:
                self.seen.add(resolve(urlsplit(path).path).view_name)
            if answer.status_code == 200 and answer.content.strip():
                self._judge(path, answer)

    def _judge(self, path: str, answer: HttpResponse) -> None:
        for method, given in _offers(html.fromstring(answer.content)):
            address = urljoin(f"http://testserver{path}", given)
            if urlsplit(address).hostname != "testserver":
                continue
            if method == "POST":
                self.posts.add(resolve(urlsplit(address).path).view_name)
            if why := _refused((method, address), self.held):
                self.faults.add((self.name, path, method, urlsplit(address).path, why))


def _everyone(*more: Held) -> dict[str, Visit]:
    visits = [Visit(held) for held in (*(Held(role) for role in Role), *more)]
    return {visit.name: visit for visit in visits}


# --- Tests ---------------------------------------------------------------------------------------


def test_nobody_is_offered_what_they_may_not_do(world: Device) -> None:
    picked = Group.objects.get(name="Picked")
    people = _everyone(*(Held(role, picked.pk) for role in (Role.VIEWER, Role.OPERATOR)))
    pages = [*PLAIN, *_pages(world)]
    for visit in people.values():
        visit.see([*pages, f"/devices/?view={visit.view}", *_chosen(visit.client)])

    faults = {fault for visit in people.values() for fault in visit.faults}
    assert not faults, "\n".join(" ".join(fault) for fault in sorted(faults))
    # And what they may do is: the pages were all seen, with all that can be posted from them.
    for visit in (people[role.value] for role in Role):
        assert _theirs("GET", visit.held) - FILES - visit.seen == set(), visit.name
        assert _theirs("POST", visit.held) - AFTERWARDS - visit.posts == set(), visit.name


def _theirs(method: str, held: Held) -> set[str]:
    """The names of all that someone who holds this role may get or post."""
    views = [resolve(path) for path in addresses(lambda route: not route.startswith(OTHERS))]
    rights = {view.view_name: getattr(view.func, "rights", {}) for view in views}
    return {
        name
        for name in rights
        if method in rights[name] and held.has(BY_NAME[rights[name][method]])
    }


def test_an_empty_server_offers_no_more(db: None) -> None:
    people = _everyone()
    for visit in people.values():
        visit.see(PLAIN)

    faults = {fault for visit in people.values() for fault in visit.faults}
    assert not faults, "\n".join(" ".join(fault) for fault in sorted(faults))
    assert {"abm:server_create", "link_create"} <= people["admin"].seen
