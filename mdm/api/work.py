"""What goes on in the background, in the API."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from mdm import navigation
from mdm.api.resources import Resource
from mdm.audit.actor import Actor


class WorkSerializer(serializers.Serializer[Any]):
    """Something long that goes on, and how far it has come."""

    what = serializers.CharField()
    words = serializers.CharField(help_text="How far it has come, in words.")
    since = serializers.DateTimeField()
    done = serializers.IntegerField()
    total = serializers.IntegerField(allow_null=True, help_text="Null where nobody knows.")
    url = serializers.CharField(help_text="Where the dashboard tells more of it.")


class WorkViewSet(Resource[Any]):
    """What goes on in the background: commands to many, syncs, assignments."""

    rights = {"list": "device.read"}
    serializer_class = WorkSerializer
    pagination_class = None
    filter_backends = ()

    @extend_schema(responses=WorkSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Everything long that goes on, the newest first, as far as the caller may see it."""
        found = navigation.work(Actor.of(request))
        return Response(self.get_serializer(found, many=True).data)
