"""Where people are signed in, in the API: one's own sessions. Those of others stand with people."""

from __future__ import annotations

from typing import Any

from allauth.usersessions.models import UserSession
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from mdm.accounts import sessions
from mdm.accounts.models import User
from mdm.api.resources import Resource
from mdm.audit.actor import Actor


class SessionSerializer(serializers.ModelSerializer[UserSession]):
    """A browser that someone is signed in with."""

    class Meta:
        model = UserSession
        fields = ["id", "user_agent", "ip", "created_at"]
        read_only_fields = fields


class OwnSessionSerializer(SessionSerializer):
    """A browser that the caller is signed in with; `current` is the one that asks."""

    current = serializers.SerializerMethodField()

    class Meta(SessionSerializer.Meta):
        fields = [*SessionSerializer.Meta.fields, "current"]
        read_only_fields = fields

    def get_current(self, session: UserSession) -> bool:
        return bool(session.session_key == self.context["request"].session.session_key)


class SessionViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, Resource[UserSession]):
    """Where the caller is signed in."""

    rights = {"list": "session.end", "retrieve": "session.end", "destroy": "session.end"}
    queryset = UserSession.objects.none()
    serializer_class = OwnSessionSerializer
    filter_backends = ()
    lookup_value_converter = "int"

    def get_queryset(self) -> QuerySet[UserSession]:
        # The schema is drawn without anyone who asks.
        user = User.objects.filter(pk=self.request.user.pk or 0).first()
        return sessions.of(user) if user else super().get_queryset()

    @extend_schema(request=None, responses={status.HTTP_204_NO_CONTENT: None})
    def destroy(self, request: Request, **kwargs: Any) -> Response:
        """Sign this browser out."""
        sessions.end(Actor.of(request), self.get_object())
        return Response(status=status.HTTP_204_NO_CONTENT)
