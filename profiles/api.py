"""ADE profiles, groups, defaults, and why a device has its profile, in the REST API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import django_filters
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from abm import copies, differences
from abm.models import AbmDevice, Definition
from mdm.api.answers import answer_with
from mdm.api.errors import Conflict
from mdm.api.filters import IdFilter
from mdm.api.resources import Resource
from mdm.api.schema import asking
from mdm.audit.actor import Actor
from mdm.models import Group, GroupMember
from profiles import (
    comparing,
    editing,
    explain,
    giving,
    groups,
    membership,
    preview,
    resolution,
    rules,
)
from profiles.errors import BadGroup, BadProfile, NotNow
from profiles.models import Default, Profile, Version
from profiles.rules import BadRule
from profiles.serializers import (
    ChangedSerializer,
    ComparisonSerializer,
    CountSerializer,
    DefaultSerializer,
    DefinitionSerializer,
    ExplanationSerializer,
    GivingSerializer,
    GroupChangesSerializer,
    GroupSerializer,
    MemberSerializer,
    NewGroupSerializer,
    NewProfileSerializer,
    NewVersionSerializer,
    PreviewSerializer,
    ProfileChoiceSerializer,
    ProfileSerializer,
    RenameSerializer,
    RuleToCountSerializer,
    SerialsSerializer,
    VersionSerializer,
    WantedSerializer,
)

answer_with(NotNow, Conflict)

_NUMBER = OpenApiParameter("number", int, OpenApiParameter.PATH)
_DEFINITION = OpenApiParameter("definition", int, OpenApiParameter.PATH)


class ProfileFilter(django_filters.FilterSet):  # type: ignore[misc]
    """Which profiles a list holds."""

    archived = django_filters.BooleanFilter(
        field_name="archived_at",
        lookup_expr="isnull",
        exclude=True,
        label="Archived profiles alone, or none of them.",
    )

    class Meta:
        model = Profile
        fields: list[str] = []


class ProfileViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, Resource[Profile]):
    """ADE profiles. A change is another version, which is looked at and then applied."""

    rights = {
        "list": "server.read",
        "retrieve": "server.read",
        "create": "profile.edit",
        "partial_update": "profile.edit",
        "duplicate": "profile.edit",
        "archive": "profile.edit",
        "restore": "profile.edit",
        "versions": "server.read",
        "post versions": "profile.edit",
        "version": "server.read",
        "delete version": "profile.edit",
        "preview": "server.read",
        "apply": "profile.apply",
        "apple": "server.read",
        "comparison": "profile.compare",
    }
    queryset = Profile.objects.select_related("current")
    serializer_class = ProfileSerializer
    filterset_class = ProfileFilter
    lookup_value_converter = "int"

    @extend_schema(
        request=NewProfileSerializer,
        responses={201: ProfileSerializer},
        examples=[
            asking(
                "Supervised, with few panes",
                name="Class room",
                content={
                    "is_supervised": True,
                    "is_mdm_removable": False,
                    "department": "IT",
                    "skip_setup_items": ["Siri", "AppleID"],
                },
                await_minutes=15,
            )
        ],
    )
    def create(self, request: Request, **kwargs: Any) -> Response:
        """Make a profile. Nobody has it yet."""
        wanted = _valid(NewProfileSerializer(data=request.data))
        try:
            made = editing.create(Actor.of(request), **wanted)
        except BadProfile as bad:
            raise _invalid(bad.errors) from None
        return Response(ProfileSerializer(made).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=RenameSerializer, responses=ProfileSerializer)
    def partial_update(self, request: Request, **kwargs: Any) -> Response:
        """Rename it; Apple hears of the name with the next version."""
        wanted, found = _valid(RenameSerializer(data=request.data)), self.get_object()
        try:
            editing.rename(Actor.of(request), found, wanted["name"])
        except BadProfile as bad:
            raise _invalid(bad.errors) from None
        return self._now(found)

    @extend_schema(request=None, responses={201: ProfileSerializer})
    @action(detail=True, methods=["post"])
    def duplicate(self, request: Request, **kwargs: Any) -> Response:
        """Another profile that says the same."""
        made = editing.duplicate(Actor.of(request), self.get_object())
        return Response(ProfileSerializer(made).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=None, responses=ProfileSerializer)
    @action(detail=True, methods=["post"])
    def archive(self, request: Request, **kwargs: Any) -> Response:
        """Put it away, where nothing gives it to devices."""
        found = self.get_object()
        editing.archive(Actor.of(request), found)
        return self._now(found)

    @extend_schema(request=None, responses=ProfileSerializer)
    @action(detail=True, methods=["post"])
    def restore(self, request: Request, **kwargs: Any) -> Response:
        """Bring an archived profile back."""
        found = self.get_object()
        try:
            editing.restore(Actor.of(request), found)
        except BadProfile as bad:
            raise _invalid(bad.errors) from None
        return self._now(found)

    @extend_schema(
        methods=["post"], request=NewVersionSerializer, responses={201: VersionSerializer}
    )
    @extend_schema(methods=["get"], responses=VersionSerializer(many=True), filters=False)
    @action(detail=True, methods=["get", "post"], pagination_class=None)
    def versions(self, request: Request, **kwargs: Any) -> Response:
        """All versions, newest first; or write a draft of the next one."""
        found = self.get_object()
        if request.method == "POST":
            wanted = _valid(NewVersionSerializer(data=request.data))
            try:
                made = editing.draft(Actor.of(request), found, **wanted)
            except BadProfile as bad:
                raise _invalid(bad.errors) from None
            return Response(VersionSerializer(made).data, status=status.HTTP_201_CREATED)
        rows = found.versions.order_by("-number")
        return Response(VersionSerializer(rows, many=True).data)

    @extend_schema(methods=["get"], responses=VersionSerializer, parameters=[_NUMBER])
    @extend_schema(
        methods=["delete"], responses={status.HTTP_204_NO_CONTENT: None}, parameters=[_NUMBER]
    )
    @action(detail=True, methods=["get", "delete"], url_path="versions/<int:number>")
    def version(self, request: Request, number: int, **kwargs: Any) -> Response:
        """One version; a draft can be discarded."""
        found = self._version(number)
        if request.method == "DELETE":
            editing.discard(Actor.of(request), found)
            return Response(status=status.HTTP_204_NO_CONTENT)
        return Response(VersionSerializer(found).data)

    @extend_schema(responses=PreviewSerializer, parameters=[_NUMBER])
    @action(detail=True, url_path="versions/<int:number>/preview")
    def preview(self, request: Request, number: int, **kwargs: Any) -> Response:
        """What applying a version would do."""
        return Response(PreviewSerializer(preview.of_version(self._version(number))).data)

    @extend_schema(request=None, responses=ProfileSerializer, parameters=[_NUMBER])
    @action(detail=True, methods=["post"], url_path="versions/<int:number>/apply")
    def apply(self, request: Request, number: int, **kwargs: Any) -> Response:
        """Let devices have this version from now on."""
        return self._now(editing.apply(Actor.of(request), self._version(number)))

    @extend_schema(responses=DefinitionSerializer(many=True), filters=False)
    @action(detail=True, pagination_class=None)
    def apple(self, request: Request, **kwargs: Any) -> Response:
        """How its versions stand at Apple, on each ABM server."""
        found = self.get_object()
        context = {"numbers": dict(found.versions.values_list("pk", "number"))}
        rows = comparing.definitions(found).defer("sealed_document", "sealed_copy")
        return Response(DefinitionSerializer(rows, many=True, context=context).data)

    @extend_schema(methods=["get"], responses=ComparisonSerializer, parameters=[_DEFINITION])
    @extend_schema(
        methods=["post"],
        request=None,
        responses={202: ComparisonSerializer},
        parameters=[_DEFINITION],
    )
    @action(detail=True, methods=["get", "post"], url_path="apple/<int:definition>")
    def comparison(self, request: Request, definition: int, **kwargs: Any) -> Response:
        """How Apple's copy differs from what was sent; or have a worker fetch it."""
        rows = comparing.definitions(self.get_object()).filter(state=Definition.State.DEFINED)
        found = get_object_or_404(rows, pk=min(definition, 2**63 - 1))
        if request.method == "POST":
            copies.ask(Actor.of(request), found)
            found.refresh_from_db()
        waiting = copies.waits(found)
        told = {
            "waiting": waiting,
            "copied_at": found.copied_at,
            "problem": found.copy_problem,
            "differences": [] if waiting else comparing.differences(found),
        }
        code = status.HTTP_202_ACCEPTED if request.method == "POST" else status.HTTP_200_OK
        return Response(ComparisonSerializer(told).data, status=code)

    def _version(self, number: int) -> Version:
        rows = self.get_object().versions.select_related("profile")
        return get_object_or_404(rows, number=min(number, 2**31 - 1))

    def _now(self, found: Profile) -> Response:
        return Response(ProfileSerializer(self.get_queryset().get(pk=found.pk)).data)


class DefaultViewSet(mixins.ListModelMixin, Resource[Default]):
    """The default profile of each OS, in general and on each ABM server."""

    rights = {
        "list": "server.read",
        "create": "profile.give",
        "preview": "profile.give",
    }
    queryset = Default.objects.order_by("pk")
    serializer_class = DefaultSerializer
    filter_backends = ()
    pagination_class = None

    @extend_schema(request=DefaultSerializer, responses={200: DefaultSerializer(many=True)})
    def create(self, request: Request, **kwargs: Any) -> Response:
        """Set a default, or take it away. Answers with all defaults."""
        wanted = _valid(DefaultSerializer(data=request.data))
        giving.set_default(Actor.of(request), **wanted)
        return Response(DefaultSerializer(self.get_queryset(), many=True).data)

    @extend_schema(request=DefaultSerializer, responses=PreviewSerializer)
    @action(detail=False, methods=["post"])
    def preview(self, request: Request) -> Response:
        """What setting a default, or taking it away, would do. Nothing is changed."""
        wanted = _valid(DefaultSerializer(data=request.data))
        place = wanted["os"], wanted["server"].pk if wanted["server"] else None
        return _previewed(preview.of_defaults({place: wanted["profile"]}))


class GroupViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, Resource[Group]):
    """Groups of devices: picked by serial number, or found by a rule."""

    rights = {
        "list": "server.read",
        "retrieve": "server.read",
        "create": "group.edit",
        "partial_update": "group.edit",
        "destroy": "group.edit",
        "add": "group.edit",
        "remove": "group.edit",
        "preview": "profile.give",
        "count": "group.edit",
    }
    queryset = Group.objects.all()
    serializer_class = GroupSerializer
    filter_backends = ()
    lookup_value_converter = "int"

    def hold(self, row: Group) -> None:
        resolution.take_turn()
        if self.action == "partial_update":
            groups.lock_ranks()  # it may be moved
        super().hold(row)

    def get_queryset(self) -> QuerySet[Group]:
        counted = GroupMember.objects.filter(group=OuterRef("pk")).order_by().values("group")
        return Group.objects.select_related("profile").annotate(
            member_count=Coalesce(Subquery(counted.annotate(count=Count("*")).values("count")), 0)
        )

    @extend_schema(
        request=NewGroupSerializer,
        responses={201: GroupSerializer},
        examples=[
            asking("By serial number", name="Class 7b", serial_numbers=["C02XK1ABJG5H"]),
            asking(
                "By a rule",
                name="All iPads",
                rule={
                    "match": "all",
                    "conditions": [{"field": "family", "op": "is", "value": "iPad"}],
                },
            ),
        ],
    )
    def create(self, request: Request, **kwargs: Any) -> Response:
        """Make a group, of the last rank."""
        wanted = _valid(NewGroupSerializer(data=request.data))
        actor, name = Actor.of(request), wanted["name"]
        try:
            if "rule" in wanted:
                made = groups.create_smart(actor, name, wanted["rule"])
            else:
                made = groups.create_static(actor, name, wanted.get("serial_numbers", ()))
        except BadRule as bad:
            raise _bad_rule(bad) from None
        except BadGroup as bad:
            raise ValidationError({bad.field: [str(bad)]}) from None
        return self._now(made, status.HTTP_201_CREATED)

    @extend_schema(
        request=GroupChangesSerializer,
        responses=GroupSerializer,
        examples=[asking("First of all, without a profile", rank=1, profile=None)],
    )
    def partial_update(self, request: Request, **kwargs: Any) -> Response:
        """Change its name, its rank, its rule, or the profile that it gives."""
        wanted, found = _valid(GroupChangesSerializer(data=request.data)), self.get_object()
        actor = Actor.of(request)
        try:
            if "name" in wanted:
                groups.rename(actor, found, wanted["name"])
            if "rule" in wanted:
                groups.change_rule(actor, found, wanted["rule"])
        except BadRule as bad:
            raise _bad_rule(bad) from None
        except BadGroup as bad:
            raise ValidationError({bad.field: [str(bad)]}) from None
        if "rank" in wanted:
            groups.move(actor, found, wanted["rank"])
        if "profile" in wanted:
            giving.give_group(actor, found, wanted["profile"])
        return self._now(found)

    @extend_schema(request=None, responses={status.HTTP_204_NO_CONTENT: None})
    def destroy(self, request: Request, **kwargs: Any) -> Response:
        """Delete it; its devices get what the next rule gives them."""
        groups.delete(Actor.of(request), self.get_object())
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=SerialsSerializer, responses=ChangedSerializer)
    @action(detail=True, methods=["post"])
    def add(self, request: Request, **kwargs: Any) -> Response:
        """Put serial numbers into a group of picked devices."""
        return self._members(request, groups.add)

    @extend_schema(request=SerialsSerializer, responses=ChangedSerializer)
    @action(detail=True, methods=["post"])
    def remove(self, request: Request, **kwargs: Any) -> Response:
        """Take serial numbers out of a group of picked devices."""
        return self._members(request, groups.remove)

    @extend_schema(request=ProfileChoiceSerializer, responses=PreviewSerializer)
    @action(detail=True, methods=["post"])
    def preview(self, request: Request, **kwargs: Any) -> Response:
        """What giving the group this profile, or taking its own away, would do. Nothing is changed:
        `PATCH` does it.
        """
        wanted = _valid(ProfileChoiceSerializer(data=request.data))
        return _previewed(preview.of_group(self.get_object(), wanted["profile"]))

    @extend_schema(
        request=RuleToCountSerializer,
        responses=CountSerializer,
        examples=[
            asking(
                "All iPads",
                rule={
                    "match": "all",
                    "conditions": [{"field": "family", "op": "is", "value": "iPad"}],
                },
            )
        ],
    )
    @action(detail=False, methods=["post"])
    def count(self, request: Request) -> Response:
        """How many devices a rule finds now."""
        wanted = _valid(RuleToCountSerializer(data=request.data))
        try:
            found = membership.count(rules.clean(wanted["rule"]))
        except BadRule as bad:
            raise _bad_rule(bad) from None
        return Response({"devices": found})

    def _members(self, request: Request, act: Any) -> Response:
        wanted = _valid(SerialsSerializer(data=request.data))
        try:
            changed = act(Actor.of(request), self.get_object(), wanted["serial_numbers"])
        except BadGroup as bad:
            raise ValidationError({bad.field: [str(bad)]}) from None
        return Response({"changed": changed})

    def _now(self, found: Group, code: int = status.HTTP_200_OK) -> Response:
        return Response(GroupSerializer(self.get_queryset().get(pk=found.pk)).data, status=code)


class MemberFilter(django_filters.FilterSet):  # type: ignore[misc]
    """Whose members a list holds."""

    group = IdFilter("group_id")
    serial_number = django_filters.CharFilter(max_length=64)

    class Meta:
        model = GroupMember
        fields: list[str] = []


class MemberViewSet(mixins.ListModelMixin, Resource[GroupMember]):
    """The serial numbers in groups."""

    rights = {
        "list": "server.read",
    }
    queryset = GroupMember.objects.all()
    serializer_class = MemberSerializer
    filterset_class = MemberFilter


class WantedFilter(django_filters.FilterSet):  # type: ignore[misc]
    """Which devices a list holds."""

    server = IdFilter("server_id")
    rule = django_filters.CharFilter(field_name="wish__rule", max_length=10)
    unassigned = django_filters.BooleanFilter(
        method="filter_unassigned", label="Unassigned devices alone, or none of them."
    )
    settled = django_filters.BooleanFilter(
        method="filter_settled", label="Devices that have what they should, or those that have not."
    )

    class Meta:
        model = AbmDevice
        fields: list[str] = []

    def filter_unassigned(
        self, queryset: QuerySet[AbmDevice], name: str, value: bool
    ) -> QuerySet[AbmDevice]:
        return queryset.filter(wish__definition__isnull=value)

    def filter_settled(
        self, queryset: QuerySet[AbmDevice], name: str, value: bool
    ) -> QuerySet[AbmDevice]:
        return queryset.filter(differences.settled() if value else differences.differs())


class WantedViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, Resource[AbmDevice]):
    """Devices in ABM with the profile that each should have, by serial number."""

    rights = {
        "list": "server.read",
        "retrieve": "server.read",
        "explain": "server.read",
        "give": "profile.give",
        "preview": "profile.give",
    }
    queryset = AbmDevice.objects.filter(current=True, removed_at=None).select_related(
        "wish__definition"
    )
    serializer_class = WantedSerializer
    filterset_class = WantedFilter
    lookup_field = "serial_number"
    lookup_value_converter = "str"

    @extend_schema(responses=ExplanationSerializer)
    @action(detail=True)
    def explain(self, request: Request, serial_number: str, **kwargs: Any) -> Response:
        """Why it has its profile, or none; also for a serial number that nobody knows."""
        found = explain.explain(serial_number.replace("\0", "")[:64])
        return Response(ExplanationSerializer(_explanation(found)).data)

    @extend_schema(
        request=GivingSerializer,
        responses=ChangedSerializer,
        examples=[
            asking("Take theirs away", serial_numbers=["C02XK1ABJG5H"], profile=None),
        ],
    )
    @action(detail=False, methods=["post"])
    def give(self, request: Request, **kwargs: Any) -> Response:
        """Give a profile to these very devices, or take theirs away."""
        wanted = _valid(GivingSerializer(data=request.data))
        changed = giving.give_devices(
            Actor.of(request), wanted["serial_numbers"], wanted["profile"]
        )
        return Response({"changed": changed})

    @extend_schema(request=GivingSerializer, responses=PreviewSerializer)
    @action(detail=False, methods=["post"], url_path="give/preview")
    def preview(self, request: Request, **kwargs: Any) -> Response:
        """What `give` would do. Nothing is changed."""
        wanted = _valid(GivingSerializer(data=request.data))
        return _previewed(
            preview.of_devices(sorted(set(wanted["serial_numbers"])), wanted["profile"])
        )


def _previewed(found: preview.Preview) -> Response:
    return Response(PreviewSerializer(found).data)


def _explanation(found: explain.Explanation) -> dict[str, Any]:
    return {
        "serial_number": found.serial_number,
        "state": found.state,
        "sentence": found.sentence,
        "wanted": str(found.wanted) if found.wanted else None,
        "has": found.has,
        "rules": [
            {
                "kind": rule.kind,
                "name": rule.name,
                "profile": str(rule.profile) if rule.profile else None,
                "won": rule.won,
                "why": rule.why,
            }
            for rule in found.rules
        ],
        "attempts": found.attempts,
        "next_step": found.next_step,
        "next_at": found.next_at,
    }


def _valid(given: Any) -> dict[str, Any]:
    given.is_valid(raise_exception=True)
    return dict(given.validated_data)


def _invalid(errors: Mapping[str, Sequence[str]]) -> ValidationError:
    return ValidationError({key or "non_field_errors": list(said) for key, said in errors.items()})


def _bad_rule(bad: BadRule) -> ValidationError:
    place = f"Condition {bad.at + 1}: " if bad.at is not None else ""
    return ValidationError({"rule": [f"{place}{bad}"]})
