"""Groups: the list in the order of rank, one group with its members, and what is done to it."""

from __future__ import annotations

import json
from typing import Any

from django.db.models import Count, F, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse

from abm import serials
from abm.models import AbmDevice, Server
from abm.serials import Unreadable
from mdm import selection
from mdm.audit.actor import Actor
from mdm.models import Device, Group, GroupMember
from mdm.pages.frame import (
    Undo,
    action,
    complain,
    form_page,
    is_fragment,
    page,
    say,
    table_page,
)
from mdm.search import Contains
from mdm.tables import Column, Filter, Table
from profiles import giving, membership, preview, rules, selectors
from profiles import groups as domain
from profiles.errors import BadGroup, NotNow
from profiles.models import Profile
from profiles.pages import undoing
from profiles.rules import BadRule

_EMPTY_RULE = {"match": "all", "conditions": [{"field": "family", "op": "is", "value": ""}]}


@page("server.read")
def groups(request: HttpRequest) -> HttpResponse:
    counted = GroupMember.objects.filter(group=OuterRef("pk")).order_by().values("group")
    rows = Group.objects.select_related("profile__profile").annotate(
        member_count=Coalesce(Subquery(counted.annotate(count=Count("*")).values("count")), 0)
    )
    return table_page(request, "profiles/groups.html", TABLE.view(request, rows))


@page("server.read")
def group(request: HttpRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(Group.objects.select_related("profile__profile"), pk=pk)
    view = MEMBERS.view(request, _members(found))
    if is_fragment(request, f"region-{MEMBERS.slug}"):
        return table_page(request, "profiles/group.html", view)
    given = getattr(found, "profile", None)
    context: dict[str, Any] = {
        "group": found,
        "given": given,
        "profiles": list(selectors.usable()),
        "last_rank": Group.objects.count(),
        "conditions": rules.said(found.rule, _server_names()) if found.rule else [],
        "match": found.rule.get("match"),
    }
    return table_page(request, "profiles/group.html", view, **context)


@form_page("group.edit")
def create(request: HttpRequest) -> HttpResponse:
    """A static group: its name and, where wanted, serial numbers from a file or pasted."""
    context: dict[str, Any] = {"name": request.POST.get("name", ""), "errors": {}}
    if request.method != "POST":
        return render(request, "profiles/group_static.html", context)
    try:
        made = domain.create_static(Actor.of(request), context["name"], _given_serials(request))
    except BadGroup as bad:
        context["errors"] = {bad.field: str(bad)}
    except Unreadable as bad:
        context["errors"] = {"serial_numbers": str(bad)}
    else:
        return redirect("profiles:group", made.pk)
    context["pasted"] = request.POST.get("pasted", "")[:100_000]
    return render(request, "profiles/group_static.html", context, status=422)


@form_page("group.edit")
def create_smart(request: HttpRequest) -> HttpResponse:
    """A smart group: its name and its rule, with a live count."""
    if request.method != "POST":
        return _rule_form(request, None, "", _EMPTY_RULE)
    name, rule = request.POST.get("name", ""), _given_rule(request)
    try:
        made = domain.create_smart(Actor.of(request), name, rule)
    except BadRule as bad:
        return _rule_form(request, None, name, rule, bad=bad)
    except BadGroup as refused:
        return _rule_form(request, None, name, rule, name_error=str(refused))
    say(request, f"{made} has {made.members.count():,} devices, and follows its rule from now on.")
    return redirect("profiles:group", made.pk)


@form_page("group.edit")
def rule(request: HttpRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(Group, pk=pk, kind=Group.Kind.SMART)
    if request.method != "POST":
        return _rule_form(request, found, found.name, found.rule)
    wanted = _given_rule(request)
    try:
        domain.change_rule(Actor.of(request), found, wanted)
    except BadRule as bad:
        return _rule_form(request, found, found.name, wanted, bad=bad)
    say(request, f"{found} follows its new rule: {found.members.count():,} devices.")
    return redirect("profiles:group", found.pk)


@page("group.edit")
def count(request: HttpRequest) -> HttpResponse:
    """How many devices a rule finds now, for the form that changes it."""
    try:
        found = membership.count(rules.clean(_given_rule(request)))
        words = "1 device fulfills it now." if found == 1 else f"{found:,} devices fulfill it now."
    except BadRule as bad:
        words = f"Condition {bad.at + 1}: {bad}" if bad.at is not None else str(bad)
    return render(request, "profiles/rule_count.html", {"words": words})


@action("profile.give")
def give(request: HttpRequest, pk: int) -> HttpResponse:
    """Give a profile to the group; what it would change is shown first."""
    found = get_object_or_404(Group, pk=pk)
    wanted = request.POST.get("profile", "")
    chosen = None
    if wanted:
        chosen = get_object_or_404(Profile, pk=int(wanted)) if _is_id(wanted) else None
    before = getattr(found, "profile", None)
    back = {"profile": str(before.profile_id) if before else "", "apply": "yes"}
    try:
        if not request.POST.get("apply"):
            context = {"group": found, "chosen": chosen, "preview": preview.of_group(found, chosen)}
            return render(request, "profiles/group_give.html", context)
        giving.give_group(Actor.of(request), found, chosen)
    except NotNow as refused:
        complain(request, str(refused))
    else:
        words = f"{found} gets {chosen}." if chosen else f"{found} gives no profile any more."
        undo = Undo(url=request.path, subject=("group", found.pk), fields=back)
        say(request, words, undo=undo)
    return redirect("profiles:group", found.pk)


@action("group.edit")
def rename(request: HttpRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(Group, pk=pk)
    try:
        domain.rename(Actor.of(request), found, request.POST.get("name", ""))
    except BadGroup as refused:
        complain(request, str(refused))
    return redirect("profiles:group", found.pk)


@action("group.edit")
def move(request: HttpRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(Group, pk=pk)
    text = request.POST.get("rank", "")
    if _is_id(text):
        back = {"rank": str(found.rank), "back": request.POST.get("back", "")[:10]}
        domain.move(Actor.of(request), found, int(text))
        undo = Undo(url=request.path, subject=("group", found.pk), fields=back)
        say(request, f"{found} has rank {found.rank} now.", undo=undo)
    return redirect("profiles:groups" if request.POST.get("back") == "list" else _url(found))


@action("group.edit")
def add(request: HttpRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(Group, pk=pk)
    try:
        wanted = _given_serials(request)
        if not wanted:
            raise Unreadable("Choose a file, or paste serial numbers.")
        there = found.members.extra(where=["serial_number = ANY(%s)"], params=[wanted])
        new = set(wanted).difference(there.values_list("serial_number", flat=True))
        added = domain.add(Actor.of(request), found, wanted)
    except (BadGroup, Unreadable) as refused:
        complain(request, str(refused))
    else:
        undo = undoing.offer(request, found, "profiles:group_take_out", new)
        say(request, f"{added:,} of {len(wanted):,} serial numbers are new in {found}.", undo=undo)
    return redirect("profiles:group", found.pk)


@action("group.edit")
def remove(request: HttpRequest, pk: int) -> HttpResponse:
    """Take the ticked members out."""
    found = get_object_or_404(Group, pk=pk)
    ids = selection.ticked(request.POST)
    rows = found.members.filter(pk__in=ids)
    everything = request.POST.get("all", "")
    if everything.startswith("?"):
        rows = MEMBERS.narrow(_members(found), QueryDict(everything[1:]))
    serials_out = list(rows.values_list("serial_number", flat=True))
    try:
        gone = domain.remove(Actor.of(request), found, serials_out)
    except BadGroup as refused:
        complain(request, str(refused))
    else:
        undo = undoing.offer(request, found, "profiles:group_put_back", serials_out)
        say(request, f"{gone:,} left {found}.", undo=undo)
    return redirect("profiles:group", found.pk)


@form_page("group.edit")
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(Group, pk=pk)
    if request.method == "POST":
        try:
            domain.delete(Actor.of(request), found)
        except NotNow as refused:
            complain(request, str(refused))
            return redirect("profiles:group", found.pk)
        say(request, f"{found} is deleted. Its devices get what the next rule gives them.")
        return redirect("profiles:groups")
    context = {
        "title": f"Delete {found}",
        "button": "Delete the group",
        "words": "Devices stay as they are. Those that have their profile from this group get what"
        " the next rule gives them. A group cannot be brought back.",
        "back": reverse("profiles:group", args=[found.pk]),
    }
    return render(request, "mdm/confirm.html", context)


def _url(found: Group) -> str:
    return reverse("profiles:group", args=[found.pk])


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def _given_serials(request: HttpRequest) -> list[str]:
    """Raises Unreadable."""
    file = request.FILES.get("file")
    if file is not None and file.size:
        return list(serials.read_file(file.read(serials.MAX_BYTES + 1)).serials)
    pasted = request.POST.get("pasted", "")
    return list(serials.read_pasted(pasted).serials) if pasted.strip() else []


# --- Rules ---------------------------------------------------------------------------------------


def _given_rule(request: HttpRequest) -> dict[str, Any]:
    form = request.POST if request.method == "POST" else request.GET
    conditions = [
        {"field": field, "op": op, "value": value}
        for field, op, value in zip(
            form.getlist("field"), form.getlist("op"), form.getlist("value"), strict=False
        )
        if field
    ]
    return {"match": form.get("match", "all"), "conditions": conditions}


def _server_names() -> dict[int, str]:
    return {server.pk: str(server) for server in Server.objects.order_by("pk")[:200]}


def _rule_form(
    request: HttpRequest,
    found: Group | None,
    name: str,
    given: dict[str, Any],
    *,
    bad: BadRule | None = None,
    name_error: str = "",
) -> HttpResponse:
    names = _server_names()
    offered = {
        field.key: {
            "ops": list(field.ops.items()),
            "choices": [[str(pk), name] for pk, name in names.items()]
            if field.kind == "server"
            else [list(pair) for pair in field.choices],
            "kind": field.kind,
        }
        for field in rules.FIELDS
    }
    context = {
        "group": found,
        "name": name,
        "match": given.get("match", "all"),
        "conditions": given.get("conditions", []) or _EMPTY_RULE["conditions"],
        "fields": [(field.key, field.label) for field in rules.FIELDS],
        "offered": json.loads(json.dumps(offered)),
        "all_ops": sorted({pair for ops in rules.OPS.values() for pair in ops.items()}),
        "rule_error": str(bad) if bad else "",
        "rule_error_at": bad.at + 1 if bad and bad.at is not None else None,
        "name_error": name_error,
    }
    status = 422 if bad or name_error else 200
    return render(request, "profiles/group_smart.html", context, status=status)


# --- Tables --------------------------------------------------------------------------------------


def _members(found: Group) -> QuerySet[GroupMember]:
    listed = AbmDevice.objects.filter(
        serial_number=OuterRef("serial_number"), current=True, removed_at=None
    )
    device = Device.objects.filter(serial_number=OuterRef("serial_number"))
    return GroupMember.objects.filter(group=found).annotate(
        model=Subquery(listed.values("model")[:1]),
        listed_id=Subquery(listed.values("pk")[:1]),
        wanted=Subquery(listed.values("wish__definition__name")[:1]),
        wanted_rule=Subquery(listed.values("wish__rule")[:1]),
        device_pk=Subquery(device.values("pk")[:1]),
        device_name=Subquery(device.values("device_name")[:1]),
    )


def _search_groups(rows: QuerySet[Group], text: str) -> QuerySet[Group]:
    return rows.filter(Contains(F("name"), text.replace("\0", "").strip()[:100]))


def _search_members(rows: QuerySet[GroupMember], text: str) -> QuerySet[GroupMember]:
    return rows.filter(Contains(F("serial_number"), text.replace("\0", "").strip()[:100]))


TABLE = Table(
    slug="groups",
    label="Groups",
    one="group",
    many="groups",
    search=_search_groups,
    search_hint="Name",
    order=("rank", "id"),
    empty="profiles/groups_empty.html",
    columns=(
        Column(key="rank", label="Rank", value=lambda row: row.rank, css="num", sort=("rank",)),
        Column(
            key="name",
            label="Group",
            value=lambda row: row.name,
            template="profiles/cells/group.html",
            sort=("name",),
        ),
        Column(
            key="members", label="Devices", value=lambda row: f"{row.member_count:,}", css="num"
        ),
        Column(
            key="profile",
            label="Profile",
            value=lambda row: getattr(getattr(row, "profile", None), "profile", ""),
            template="profiles/cells/group_profile.html",
        ),
        Column(key="changed", label="Members changed", value=lambda row: row.changed_at or "never"),
        Column(
            key="move",
            label="Move",
            value=lambda row: "",
            template="profiles/cells/group_move.html",
        ),
    ),
    filters=(
        Filter(
            key="kind",
            label="Kind",
            choices=lambda: (("static", "picked"), ("smart", "by a rule")),
            apply=lambda rows, value: rows.filter(kind=value),
        ),
    ),
)

MEMBERS = Table(
    slug="members",
    label="Members",
    one="device",
    many="devices",
    search=_search_members,
    search_hint="Serial number",
    order=("serial_number",),
    selectable=True,
    bulk_place="group.members.bulk",
    empty="profiles/members_empty.html",
    columns=(
        Column(
            key="serial",
            label="Serial number",
            value=lambda row: row.serial_number,
            template="profiles/cells/member.html",
            sort=("serial_number",),
        ),
        Column(key="model", label="Model", value=lambda row: row.model or ""),
        Column(
            key="profile",
            label="Should have",
            value=lambda row: row.wanted or "",
            template="profiles/cells/member_profile.html",
        ),
    ),
)
