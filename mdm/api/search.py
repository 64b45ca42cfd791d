"""The search of the top bar, in the API."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from mdm import search
from mdm.api.resources import Resource
from mdm.audit.actor import Actor


class SearchedSerializer(serializers.Serializer[Any]):
    """What to look for."""

    q = serializers.CharField(
        min_length=search.SHORTEST,
        max_length=search.LONGEST,
        help_text="Any part of a serial number, UDID, name, model, user's name or asset tag."
        " Shorter text is in nearly everything: `devices/?search=` takes it.",
    )


class FoundSerializer(serializers.Serializer[Any]):
    """One thing that was found."""

    name = serializers.CharField()
    detail = serializers.CharField()
    device = serializers.IntegerField(allow_null=True, help_text="The device's id, if it is one.")
    url = serializers.CharField(help_text="Its page in the dashboard.")


class FoundPlaceSerializer(serializers.Serializer[Any]):
    """What was found in one place, the first of it."""

    label = serializers.CharField()  # type: ignore[assignment]
    found = FoundSerializer(many=True)
    more = serializers.BooleanField(help_text="Whether there is more than is shown.")
    url = serializers.CharField(help_text="Where the dashboard shows all of it.")


class SearchSerializer(serializers.Serializer[Any]):
    """What was found, by where it was found."""

    devices = serializers.IntegerField(help_text="How many devices match in all.")
    places = FoundPlaceSerializer(many=True)


class SearchView(Resource[Any]):
    """One search for everything."""

    rights = {"search": "device.read"}
    serializer_class = SearchSerializer
    pagination_class = None
    filter_backends = ()

    @extend_schema(parameters=[SearchedSerializer], responses=SearchSerializer)
    def search(self, request: Request) -> Response:
        """What has this text, of all that the caller may see: devices by serial number, name or
        user, and what else has it.
        """
        asked = SearchedSerializer(data=request.query_params)
        asked.is_valid(raise_exception=True)
        actor, text = Actor.of(request), search.clean(asked.validated_data["q"])
        matches = search.matching(actor, text)
        told = {"devices": matches.count, "places": search.everywhere(actor, text, matches)}
        return Response(self.get_serializer(told).data)
