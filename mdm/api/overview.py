"""What the dashboard's first page tells, in the API."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from mdm import figures, navigation
from mdm.audit.actor import Actor

_URL = "Where the dashboard tells more of it."


class NumberSerializer(serializers.Serializer[Any]):
    """How many devices stand one way."""

    label = serializers.CharField()  # type: ignore[assignment]
    value = serializers.IntegerField()
    words = serializers.CharField(help_text="What is counted.")
    url = serializers.CharField(help_text=_URL)


class DaySerializer(serializers.Serializer[Any]):
    """A day in UTC."""

    date = serializers.DateField()
    count = serializers.IntegerField()


class AttentionSerializer(serializers.Serializer[Any]):
    """Something that needs an admin."""

    what = serializers.CharField()
    why = serializers.CharField(help_text="What it means, and what to do.")
    tone = serializers.ChoiceField(choices=["danger", "warning"])
    url = serializers.CharField(help_text=_URL)


class ExpirySerializer(serializers.Serializer[Any]):
    """Something that ends."""

    what = serializers.CharField()
    at = serializers.DateTimeField()
    stops = serializers.CharField(help_text="What stops working then.")
    url = serializers.CharField(help_text=f"{_URL} Empty where nobody can renew it yet.")


class OverviewSerializer(serializers.Serializer[Any]):
    """How it stands with the fleet and the server."""

    counted_at = serializers.DateTimeField(
        allow_null=True, help_text="Of when the numbers are; null for now."
    )
    numbers = NumberSerializer(many=True)
    enrollments = DaySerializer(many=True, help_text="Completed ones of the last 30 days.")
    attention = AttentionSerializer(
        many=True, help_text="The gravest first; empty for who may not read of the server."
    )
    expiries = ExpirySerializer(many=True, help_text="The nearest first; else as `attention`.")


class OverviewView(APIView):
    """How it stands with the fleet and the server."""

    rights = {"get": "device.read"}

    @extend_schema(responses=OverviewSerializer)
    def get(self, request: Request) -> Response:
        """What the dashboard's first page tells: numbers of devices, enrollments by day, what needs
        someone, and what ends when. Numbers and enrollments are of devices that the caller sees.
        """
        actor = Actor.of(request)
        whole = "server.read" in actor
        found = figures.of(actor.where("device.read"), whole=whole)
        told = {
            "counted_at": found.at,
            "numbers": figures.numbers(found, whole=whole),
            "enrollments": [{"date": day, "count": n} for day, n in found.by_day().items()],
            "attention": figures.attention(found) if whole else [],
            "expiries": navigation.expiries() if whole else [],
        }
        return Response(OverviewSerializer(told).data)
