"""People, the roles they hold and what each role may do, in the API."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import django_filters
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, status
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from mdm.accounts import people, rights, sessions
from mdm.accounts.models import Grant, User
from mdm.accounts.people import BadGrant, LastOne, PeopleError
from mdm.accounts.rights import Role
from mdm.api.answers import answer_with
from mdm.api.errors import Conflict
from mdm.api.filters import IdFilter
from mdm.api.resources import Resource
from mdm.api.schema import asking
from mdm.api.sessions import SessionSerializer
from mdm.audit.actor import Actor
from mdm.models import Group

answer_with(LastOne, Conflict)


class GrantSerializer(serializers.ModelSerializer[Grant]):
    """A role that someone was given; it holds from `given_at` until it ends or expires."""

    also = serializers.ListField(
        child=serializers.CharField(),
        read_only=True,
        help_text="Destructive commands beyond the role.",
    )

    class Meta:
        model = Grant
        fields = [
            *("id", "user", "role", "group", "also", "reason"),
            *("source", "given_at", "given_by", "expires_at", "ended_at", "ended_by"),
        ]
        read_only_fields = fields
        extra_kwargs = {
            "source": {"help_text": "oidc:<id> where it follows groups at an identity provider."}
        }


class PersonSerializer(serializers.ModelSerializer[User]):
    """Someone who may sign in."""

    name = serializers.CharField(source="get_full_name")

    class Meta:
        model = User
        fields = ["id", "username", "email", "name", "is_active", "last_login", "date_joined"]
        read_only_fields = fields


class InvitedSerializer(PersonSerializer):
    """Someone who was just invited, with the address at which they choose a password: it works
    once, for three days, and is shown only now.
    """

    link = serializers.CharField(read_only=True)

    class Meta(PersonSerializer.Meta):
        fields = [*PersonSerializer.Meta.fields, "link"]
        read_only_fields = fields


class AccessLinkSerializer(serializers.Serializer[Any]):
    """An address at which someone chooses a new password: it works once, for three days, and is
    shown only now.
    """

    link = serializers.CharField()


class SignedOutSerializer(serializers.Serializer[Any]):
    """How many sessions were ended."""

    ended = serializers.IntegerField()


class _Giving(serializers.Serializer[Any]):
    role = serializers.ChoiceField(choices=Role.choices)
    group = serializers.PrimaryKeyRelatedField(
        queryset=Group.objects.all(),
        allow_null=True,
        default=None,
        help_text="The group (by id) for whose devices the role holds; null for all of them.",
    )


class InvitationSerializer(_Giving):
    """Whom to invite, and to what."""

    email = serializers.EmailField(max_length=254)
    name = serializers.CharField(max_length=150, allow_blank=True, default="")


class NewGrantSerializer(_Giving):
    """Which role to give to whom."""

    user = serializers.PrimaryKeyRelatedField(queryset=User.objects.all())
    also = serializers.ListField(
        child=serializers.CharField(max_length=60),
        default=list,
        max_length=50,
        help_text="Destructive commands that a helper may send beyond the role.",
    )
    lasts_seconds = serializers.IntegerField(
        min_value=1,
        max_value=int(people.LONGEST.total_seconds()),
        allow_null=True,
        default=None,
        help_text="How long it holds; null for good.",
    )
    reason = serializers.CharField(max_length=200, allow_blank=True, default="")


class RightSerializer(serializers.Serializer[Any]):
    """One line of the table of rights."""

    name = serializers.CharField()
    words = serializers.CharField()
    roles = serializers.ListField(child=serializers.ChoiceField(choices=Role.choices))
    reach = serializers.ChoiceField(
        choices=[(reach.name.lower(), reach.value) for reach in rights.Reach],
        help_text="Rights on devices can be held for the devices of one group.",
    )
    by_token = serializers.BooleanField()


class PersonViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, Resource[User]):
    """Who may sign in."""

    rights = {
        "list": "people.read",
        "retrieve": "people.read",
        "create": "people.invite",
        "deactivate": "people.deactivate",
        "activate": "people.activate",
        "link": "people.link",
        "sessions": "people.read",
        "sign_out": "people.sign_out",
    }
    readings = frozenset({"link"})
    queryset = User.objects.all()
    serializer_class = PersonSerializer
    filter_backends = ()
    lookup_value_converter = "int"

    def hold(self, row: User) -> None:
        people.hold_admins()
        super().hold(row)

    @extend_schema(
        request=InvitationSerializer,
        responses={201: InvitedSerializer},
        examples=[
            asking("A helper", email="grace@example.com", name="Grace Hopper", role="helper")
        ],
    )
    def create(self, request: Request, **kwargs: Any) -> Response:
        """Invite someone. The answer shows the address at which they choose a password."""
        wanted = InvitationSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        actor = Actor.of(request)
        given = {**wanted.validated_data, "role": Role(wanted.validated_data["role"])}
        try:
            user = people.invite(actor, **given)
        except PeopleError as refused:
            raise _invalid(refused) from None
        shown = {**PersonSerializer(user).data, "link": people.access_link(actor, user)}
        return Response(
            shown, status=status.HTTP_201_CREATED, headers={"Cache-Control": "no-store"}
        )

    @extend_schema(request=None, responses=PersonSerializer)
    @action(detail=True, methods=["post"])
    def deactivate(self, request: Request, **kwargs: Any) -> Response:
        """End someone's access at once, tokens included."""
        user = self.get_object()
        people.deactivate(Actor.of(request), user)
        return Response(PersonSerializer(user).data)

    @extend_schema(request=None, responses=PersonSerializer)
    @action(detail=True, methods=["post"])
    def activate(self, request: Request, **kwargs: Any) -> Response:
        """Give someone their access back."""
        user = self.get_object()
        people.activate(Actor.of(request), user)
        return Response(PersonSerializer(user).data)

    @extend_schema(request=None, responses=AccessLinkSerializer)
    @action(detail=True, methods=["post"])
    def link(self, request: Request, **kwargs: Any) -> Response:
        """Make an address for someone who lost theirs, or the password. Whoever has it gets in as
        this person; the audit log keeps that it was made.
        """
        made = people.access_link(Actor.of(request), self.get_object())
        return Response({"link": made}, headers={"Cache-Control": "no-store"})

    @extend_schema(responses=SessionSerializer(many=True))
    @action(detail=True, pagination_class=None)
    def sessions(self, request: Request, **kwargs: Any) -> Response:
        """Where someone is signed in now."""
        found = sessions.of(self.get_object())
        return Response(SessionSerializer(found, many=True).data)

    @extend_schema(request=None, responses=SignedOutSerializer)
    @action(detail=True, methods=["post"], url_path="sign-out")
    def sign_out(self, request: Request, **kwargs: Any) -> Response:
        """End all sessions of someone at once. API tokens stay as they are."""
        return Response({"ended": sessions.sign_out(Actor.of(request), self.get_object())})


class GrantFilter(django_filters.FilterSet):  # type: ignore[misc]
    """Which roles a list holds."""

    user = IdFilter("user_id")
    role = django_filters.MultipleChoiceFilter(choices=Role.choices)
    current = django_filters.BooleanFilter(
        method="filter_current", label="Those that hold now alone, or those that do not."
    )

    class Meta:
        model = Grant
        fields: list[str] = []

    def filter_current(self, queryset: QuerySet[Grant], name: str, value: bool) -> QuerySet[Grant]:
        current = Grant.objects.current().values("pk")
        return queryset.filter(pk__in=current) if value else queryset.exclude(pk__in=current)


class GrantViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, Resource[Grant]):
    """The roles that people hold or held."""

    rights = {
        "list": "people.read",
        "retrieve": "people.read",
        "create": "people.grant",
        "destroy": "people.revoke",
    }
    queryset = Grant.objects.all()
    serializer_class = GrantSerializer
    filterset_class = GrantFilter
    lookup_value_converter = "int"

    def hold(self, row: Grant) -> None:
        people.hold_admins()
        super().hold(row)

    @extend_schema(request=NewGrantSerializer, responses={201: GrantSerializer})
    def create(self, request: Request, **kwargs: Any) -> Response:
        """Give someone a role."""
        wanted = NewGrantSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        given = dict(wanted.validated_data)
        seconds = given.pop("lasts_seconds")
        try:
            made = people.grant(
                Actor.of(request),
                given.pop("user"),
                lasts=timedelta(seconds=seconds) if seconds else None,
                **{**given, "role": Role(given["role"])},
            )
        except PeopleError as refused:
            raise _invalid(refused) from None
        # As the database has it, times included.
        made.refresh_from_db()
        return Response(GrantSerializer(made).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=None, responses={204: None})
    def destroy(self, request: Request, **kwargs: Any) -> Response:
        """Take a role away at once. It stays on the list, as ended."""
        people.end_grant(Actor.of(request), self.get_object())
        return Response(status=status.HTTP_204_NO_CONTENT)


class RightViewSet(Resource[Any]):
    """What each role may do."""

    rights = {"list": "dashboard.open"}
    serializer_class = RightSerializer
    pagination_class = None
    filter_backends = ()

    @extend_schema(responses=RightSerializer(many=True))
    def list(self, request: Request) -> Response:
        """The table of rights."""
        lines = [
            {
                "name": right.name,
                "words": right.words,
                "roles": [role.value for role in Role if role in right.roles],
                "reach": right.reach.name.lower(),
                "by_token": right.by_token,
            }
            for right in rights.TABLE
        ]
        return Response(self.get_serializer(lines, many=True).data)


def _invalid(refused: PeopleError) -> ValidationError:
    field = refused.field if isinstance(refused, BadGrant) else "email"
    return ValidationError({"lasts_seconds" if field == "lasts" else field: [str(refused)]})
