"""A person's own API tokens, in the API."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from mdm.accounts import tokens
from mdm.accounts.models import ApiToken, User
from mdm.accounts.rights import Role
from mdm.api.answers import answer_with
from mdm.api.errors import Conflict
from mdm.api.resources import Resource
from mdm.api.schema import asking
from mdm.audit.actor import Actor
from mdm.pagination import NewestFirst
from mdm.serializers import NewTokenSerializer, ShownTokenSerializer, TokenSerializer

answer_with(tokens.TooMany, Conflict)


class TokenViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, Resource[ApiToken]):
    """The caller's own tokens, by how they begin."""

    rights = {
        "list": "token.revoke",
        "retrieve": "token.revoke",
        "create": "token.create",
        "destroy": "token.revoke",
    }
    queryset = ApiToken.objects.none()
    serializer_class = TokenSerializer
    pagination_class = NewestFirst
    filter_backends = ()
    lookup_field = "token_key"

    def get_queryset(self) -> QuerySet[ApiToken]:
        if not self.request.user.is_authenticated:
            return ApiToken.objects.none()
        return ApiToken.objects.filter(user=self.request.user).select_related("user")

    @extend_schema(
        request=NewTokenSerializer,
        responses={201: ShownTokenSerializer},
        examples=[
            asking("For a script that reads", name="inventory", role="viewer", expires_in_days=30)
        ],
    )
    def create(self, request: Request, **kwargs: Any) -> Response:
        """Make a token. The answer shows its text, which is kept nowhere."""
        wanted = NewTokenSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        try:
            token, text = tokens.create(
                Actor.of(request),
                cast(User, request.user),
                name=wanted.validated_data["name"],
                role=Role(wanted.validated_data["role"]),
                group=wanted.validated_data["group"],
                expires_in=timedelta(days=wanted.validated_data["expires_in_days"]),
            )
        except tokens.BadToken as error:
            raise ValidationError({error.field: [str(error)]}) from None
        shown = {**TokenSerializer(token).data, "token": text}
        return Response(
            shown, status=status.HTTP_201_CREATED, headers={"Cache-Control": "no-store"}
        )

    @extend_schema(request=None, responses={204: None})
    def destroy(self, request: Request, **kwargs: Any) -> Response:
        """Revoke a token."""
        tokens.revoke(Actor.of(request), self.get_object())
        return Response(status=status.HTTP_204_NO_CONTENT)
