"""Webhooks in the API: the addresses that are told of events, what was sent, and which events there
are; their schemas stand in the OpenAPI file under `webhooks`.
"""

from __future__ import annotations

from typing import Any

import django_filters
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, status
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from mdm.api.answers import answer_with
from mdm.api.errors import Conflict
from mdm.api.resources import Resource
from mdm.audit.actor import Actor
from mdm.webhooks import kinds, subscriptions
from mdm.webhooks.models import Delivery, Event, Subscription
from mdm.webhooks.subscriptions import BadWebhook

answer_with(subscriptions.SwitchedOff, Conflict)


class WebhookSerializer(serializers.ModelSerializer[Subscription]):
    """An address that is told of events."""

    url = serializers.SerializerMethodField(
        help_text="Its host alone, for who may not change it: an address may hold a secret."
    )
    kinds = serializers.ListField(
        child=serializers.CharField(),
        read_only=True,
        help_text="Kinds of events, or section.* for all of a section, those to come included.",
    )

    class Meta:
        model = Subscription
        fields = [
            *("id", "name", "url", "kinds", "active", "active_since", "off_because"),
            *("old_secret_until", "failing_since", "delivered_at", "created_at", "created_by"),
        ]
        read_only_fields = fields
        extra_kwargs = {
            "off_because": {"help_text": "Why the server switched it off; empty otherwise."},
            "old_secret_until": {"help_text": "Until when the secret before signs as well."},
            "failing_since": {"help_text": "The first failure since the last success."},
        }

    def get_url(self, webhook: Subscription) -> str:
        manages = "webhook.manage" in Actor.of(self.context["request"])
        return webhook.url if manages else webhook.host


class SecretWebhookSerializer(WebhookSerializer):
    """A webhook with its signing secret, which is shown only now."""

    secret = serializers.CharField(read_only=True)

    class Meta(WebhookSerializer.Meta):
        fields = [*WebhookSerializer.Meta.fields, "secret"]
        read_only_fields = fields


class NewWebhookSerializer(serializers.Serializer[Any]):
    """Where to send which events."""

    name = serializers.CharField(max_length=100)
    url = serializers.CharField(max_length=2000)
    kinds = serializers.ListField(child=serializers.CharField(max_length=60), max_length=200)


class ChangedWebhookSerializer(serializers.Serializer[Any]):
    """What to change; what is left out stays."""

    name = serializers.CharField(max_length=100, required=False)
    url = serializers.CharField(max_length=2000, required=False)
    kinds = serializers.ListField(
        child=serializers.CharField(max_length=60), max_length=200, required=False
    )
    active = serializers.BooleanField(required=False)


class EventSerializer(serializers.ModelSerializer[Event]):
    """An event as it is sent."""

    id = serializers.CharField(source="public_id", read_only=True)

    class Meta:
        model = Event
        fields = ["id", "kind", "version", "at", "subject", "data"]
        read_only_fields = fields


class DeliveryAttemptSerializer(serializers.Serializer[Any]):
    """One try; what was said is the receiver's, and hostile."""

    at = serializers.DateTimeField()
    status = serializers.IntegerField(allow_null=True, help_text="Null where no answer came.")
    ms = serializers.IntegerField(help_text="How long it took.")
    said = serializers.CharField(help_text="How the answer begins.")
    trouble = serializers.CharField(help_text="Why no answer came; empty otherwise.")


class DeliverySerializer(serializers.ModelSerializer[Delivery]):
    """An event for one webhook."""

    webhook = serializers.IntegerField(source="subscription_id", read_only=True)
    event = EventSerializer(read_only=True)
    attempts = DeliveryAttemptSerializer(many=True, read_only=True)

    class Meta:
        model = Delivery
        fields = ["id", "webhook", "event", "state", "due_at", "attempts"]
        read_only_fields = fields
        extra_kwargs = {"due_at": {"help_text": "When it is tried next; null when it is over."}}


class ReplayedSerializer(serializers.Serializer[Any]):
    """How many events are sent again."""

    deliveries = serializers.IntegerField()


class FieldSerializer(serializers.Serializer[Any]):
    """A field of an event's data."""

    name = serializers.CharField()
    type = serializers.CharField()
    words = serializers.CharField()
    null = serializers.BooleanField()


class KindSerializer(serializers.Serializer[Any]):
    """A kind of event."""

    name = serializers.CharField()
    section = serializers.CharField()
    version = serializers.IntegerField()
    words = serializers.CharField()
    subject = serializers.CharField(help_text="What the event's subject names.")
    # `fields` is a word of rest_framework's.
    data = FieldSerializer(many=True, source="fields")  # type: ignore[assignment]
    example = EventSerializer()


class WebhookViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, Resource[Subscription]):
    """Addresses that are told of events."""

    rights = {
        "list": "server.read",
        "retrieve": "server.read",
        "create": "webhook.manage",
        "partial_update": "webhook.manage",
        "destroy": "webhook.manage",
        "test": "webhook.manage",
        "rotate": "webhook.manage",
        "replay": "webhook.manage",
    }
    queryset = Subscription.objects.all()
    serializer_class = WebhookSerializer
    filter_backends = ()
    lookup_value_converter = "int"

    @extend_schema(request=NewWebhookSerializer, responses={201: SecretWebhookSerializer})
    def create(self, request: Request, **kwargs: Any) -> Response:
        """Add a webhook. The answer shows the secret that its events are signed with."""
        wanted = NewWebhookSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        try:
            made, secret = subscriptions.create(Actor.of(request), **wanted.validated_data)
        except BadWebhook as bad:
            raise ValidationError({bad.field: [str(bad)]}) from None
        return self._shown(made, secret, status.HTTP_201_CREATED)

    @extend_schema(request=ChangedWebhookSerializer, responses=WebhookSerializer)
    def partial_update(self, request: Request, **kwargs: Any) -> Response:
        """Change it, switch it on or off."""
        webhook = self.get_object()
        wanted = ChangedWebhookSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        given = dict(wanted.validated_data)
        active = given.pop("active", None)
        actor = Actor.of(request)
        try:
            if given:
                webhook = subscriptions.change(actor, webhook, **given)
        except BadWebhook as bad:
            raise ValidationError({bad.field: [str(bad)]}) from None
        if active is not None:
            webhook = subscriptions.switch(actor, webhook, active)
        return Response(self.get_serializer(webhook).data)

    @extend_schema(request=None, responses={204: None})
    def destroy(self, request: Request, **kwargs: Any) -> Response:
        """Delete it with the log of its deliveries."""
        subscriptions.delete(Actor.of(request), self.get_object())
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=None, responses={202: DeliverySerializer})
    @action(detail=True, methods=["post"])
    def test(self, request: Request, **kwargs: Any) -> Response:
        """Send a test event, within seconds; its delivery says what came of it."""
        made = subscriptions.test(Actor.of(request), self.get_object())
        return Response(DeliverySerializer(made).data, status=status.HTTP_202_ACCEPTED)

    @extend_schema(request=None, responses=SecretWebhookSerializer)
    @action(detail=True, methods=["post"])
    def rotate(self, request: Request, **kwargs: Any) -> Response:
        """Give it a new secret, which the answer shows. The old one signs as well for a day."""
        webhook, secret = subscriptions.rotate(Actor.of(request), self.get_object())
        return self._shown(webhook, secret)

    @extend_schema(request=None, responses=ReplayedSerializer)
    @action(detail=True, methods=["post"])
    def replay(self, request: Request, **kwargs: Any) -> Response:
        """Send all events again that failed."""
        count = subscriptions.replay_failed(Actor.of(request), self.get_object())
        return Response({"deliveries": count})

    def _shown(self, webhook: Subscription, secret: str, code: int = 200) -> Response:
        shown = {**self.get_serializer(webhook).data, "secret": secret}
        return Response(shown, status=code, headers={"Cache-Control": "no-store"})


class DeliveryFilter(django_filters.FilterSet):  # type: ignore[misc]
    """Which deliveries a list holds."""

    webhook = django_filters.NumberFilter(
        field_name="subscription_id", min_value=1, max_value=2**63 - 1
    )
    state = django_filters.MultipleChoiceFilter(choices=Delivery.State.choices)

    class Meta:
        model = Delivery
        fields: list[str] = []


class DeliveryViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, Resource[Delivery]):
    """What was sent to webhooks in the last 30 days, or is to be sent."""

    rights = {"list": "server.read", "retrieve": "server.read", "replay": "webhook.manage"}
    queryset = Delivery.objects.select_related("event")
    serializer_class = DeliverySerializer
    filterset_class = DeliveryFilter
    lookup_value_converter = "int"

    def hold(self, row: Delivery) -> None:
        get_object_or_404(Subscription.objects.select_for_update(), pk=row.subscription_id)
        super().hold(row)

    @extend_schema(request=None, responses=DeliverySerializer)
    @action(detail=True, methods=["post"])
    def replay(self, request: Request, **kwargs: Any) -> Response:
        """Send it again, with the same id."""
        replayed = subscriptions.replay(Actor.of(request), self.get_object())
        return Response(self.get_serializer(replayed).data)


class KindViewSet(Resource[Any]):
    """The kinds of events."""

    rights = {"list": "server.read"}
    serializer_class = KindSerializer
    pagination_class = None
    filter_backends = ()

    @extend_schema(responses=KindSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Every kind of event, with an example."""
        lines = [
            {
                **{key: getattr(kind, key) for key in ("name", "section", "version", "words")},
                "subject": kind.subject,
                "fields": kind.fields,
                "example": {**kind.example(), "public_id": kind.example()["id"]},
            }
            for kind in kinds.every()
        ]
        return Response(self.get_serializer(lines, many=True).data)


# --- The schema -----------------------------------------------------------------------------------


def add_webhooks(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """A hook of drf-spectacular: every kind of event under `webhooks` of the OpenAPI file."""
    result["webhooks"] = {kind.name: {"post": _operation(kind)} for kind in kinds.every()}
    return result


def _operation(kind: kinds.Kind) -> dict[str, Any]:
    return {
        "operationId": f"on_{kind.name.replace('.', '_')}",
        "summary": kind.words,
        "description": f"Version {kind.version}. It may come more than once, with the same id.",
        "tags": ["webhooks"],
        "parameters": _HEADERS,
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": kind.schema(), "example": kind.example()}},
        },
        "responses": {
            "2XX": {"description": "The receiver has it."},
            "410": {"description": "The receiver wants no events any more: it is switched off."},
            "default": {"description": "It is sent again, for three days."},
        },
    }


_HEADERS = [
    {
        "name": name,
        "in": "header",
        "required": True,
        "schema": {"type": "string"},
        "description": words,
    }
    for name, words in (
        ("webhook-id", "The event's id, the same each time it is sent."),
        ("webhook-timestamp", "When it was sent, in seconds since 1970."),
        ("webhook-signature", "v1,<base64> for each secret: HMAC-SHA256 of id.timestamp.body."),
    )
]
