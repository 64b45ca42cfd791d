"""Commands in the REST API: what can be sent, sending it, and what came of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import django_filters
from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.exceptions import ErrorDetail, NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from commands import catalog, progress, queue, receivers, restraint, retry, selectors, verdict
from commands.models import Approval, Command, Pause, QueueEntry
from commands.receivers import Found, Name, NameKind
from commands.serializers import (
    RECEIVER_FIELDS,
    ApprovalSerializer,
    CommandSerializer,
    CommandTypeSerializer,
    EntrySerializer,
    NewCommandSerializer,
    NoteSerializer,
    PauseSerializer,
    RawSerializer,
    ReasonSerializer,
    SentSerializer,
    VerdictSerializer,
)
from mdm.api.answers import answer_with
from mdm.api.errors import Conflict
from mdm.api.filters import IdFilter
from mdm.api.resources import Resource
from mdm.api.schema import answering, asking
from mdm.audit.actor import Actor
from mdm.secrets import Unsealable

answer_with(queue.QueueError, Conflict)
answer_with(restraint.RestraintError, Conflict)
answer_with(Unsealable, Conflict)


class CommandFilter(django_filters.FilterSet):  # type: ignore[misc]
    """Which commands a list holds."""

    request_type = django_filters.CharFilter(max_length=60)
    destructive = django_filters.BooleanFilter()
    created_after = django_filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="gte")
    created_before = django_filters.IsoDateTimeFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = Command
        fields: list[str] = []


@extend_schema_view(
    list=extend_schema(description="What was asked for, newest first."),
    retrieve=extend_schema(description="One command, and how far it has come."),
)
class CommandViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, Resource[Command]):
    """What was asked for, once each, by CommandUUID."""

    rights = {
        "list": "command.read",
        "retrieve": "command.read",
        "create": "command.send",
        "preview": "command.send",
        "cancel": "command.cancel",
        "retry": "command.send",
    }
    queryset = Command.objects.all()
    serializer_class = CommandSerializer
    filterset_class = CommandFilter
    lookup_field = "uuid"
    lookup_value_converter = "uuid"

    def get_queryset(self) -> QuerySet[Command]:
        # The schema is drawn without anyone who asks.
        drawn = getattr(self, "swagger_fake_view", False)
        rows = super().get_queryset() if drawn else selectors.jobs(Actor.of(self.request))
        return rows.select_related("approval")

    def get_serializer(self, *args: Any, **kwargs: Any) -> Any:
        serializer = super().get_serializer(*args, **kwargs)
        shown = args[0] if args else []
        commands = [shown] if isinstance(shown, Command) else shown
        if commands and "states" in getattr(serializer, "child", serializer).fields:
            where = Actor.of(self.request).where("command.read")
            serializer.context["states"] = progress.states(commands, where)
        return serializer

    def hold(self, row: Command) -> None:
        restraint.hold_still(row.pk)

    @extend_schema(
        request=NewCommandSerializer,
        responses={201: SentSerializer},
        examples=[
            asking(
                "Ask a device for its profiles",
                request_type="ProfileList",
                serial_numbers=["C02XK1ABJG5H"],
            ),
            asking(
                "Lock two Macs",
                request_type="DeviceLock",
                parameters={"PIN": "483920", "Message": "Please call the help desk."},
                serial_numbers=["C02XK1ABJG5H", "C02XK1ABJG5J"],
                expires_in_seconds=86400,
            ),
            answering(
                "One gets it, one is not known",
                201,
                command={
                    "uuid": "7c1f3b52-6a53-4a7b-9c9e-3a4d9d7f1c11",
                    "request_type": "DeviceLock",
                    "parameters": {"PIN": "••••••", "Message": "Please call the help desk."},
                    "destructive": True,
                    "asked_by": "ada",
                    "created_at": "2026-11-30T09:30:00Z",
                    "held": False,
                    "starts_at": None,
                    "approval": None,
                    "states": {"Queued": 1},
                },
                queued=1,
                coalesced=0,
                refused=[
                    {
                        "kind": "serial_number",
                        "name": "C02XK1ABJG5J",
                        "reason": "No device has this serial number.",
                    }
                ],
            ),
        ],
    )
    def create(self, request: Request, **kwargs: Any) -> Response:
        """Send a command. Who cannot run it is named in `refused`; the others get it."""
        wanted = NewCommandSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        data = wanted.validated_data
        actor = Actor.of(request)
        found = receivers.find(actor, _names(data))
        sent = _enqueue(actor, data, found)
        return self._sent(sent, _refused(found, sent.refused))

    @extend_schema(
        request=NewCommandSerializer,
        responses=VerdictSerializer,
        examples=[
            asking(
                "What would a restart of two devices come to?",
                request_type="RestartDevice",
                serial_numbers=["C02XK1ABJG5H", "C02XK1ABJG5J"],
            ),
            answering(
                "One would get it",
                200,
                able=1,
                unable=[{"reason": "No device has this serial number.", "count": 1}],
                held="",
            ),
        ],
    )
    @action(detail=False, methods=["post"])
    def preview(self, request: Request, **kwargs: Any) -> Response:
        """How many would get a command, and how many would not and why. Nothing is sent."""
        wanted = NewCommandSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        data = wanted.validated_data
        actor = Actor.of(request)
        found = receivers.find(actor, _names(data))
        with _by_field():
            command, params = catalog.prepare(data["request_type"], data["parameters"])
        judged = verdict.judge(
            actor, command, command.effect_of(params), list(found.enrollments), params
        )
        unable = Counter(unfound.reason for unfound in found.unfound)
        unable.update(dict(judged.unable))
        told = {
            "able": judged.able,
            "unable": [{"reason": why, "count": count} for why, count in unable.most_common()],
            "held": judged.held,
        }
        return Response(VerdictSerializer(told).data)

    @extend_schema(request=None, responses=CommandSerializer)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, **kwargs: Any) -> Response:
        """Cancel the command wherever it has not been delivered yet."""
        command = self.get_object()
        queue.cancel_rest(Actor.of(request), command)
        return Response(self.get_serializer(command).data)

    @extend_schema(request=None, responses={201: SentSerializer})
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, **kwargs: Any) -> Response:
        """Send the command again, as it was asked for, to the enrollments where it failed or was
        not answered in time. It is another command.
        """
        try:
            sent = retry.retry(Actor.of(request), self.get_object())
        except catalog.CatalogError as error:
            raise ValidationError([str(error)]) from None
        except queue.NobodyCanRunIt as error:
            raise ValidationError([one.reason for one in error.refused][:20]) from None
        refused = [
            _refusal(Name(NameKind.ENROLLMENT, str(one.enrollment_id)), one.reason)
            for one in sent.refused
        ]
        return self._sent(sent, refused)

    def _sent(self, sent: queue.Enqueued, refused: list[dict[str, str]]) -> Response:
        answer = {
            "command": self.get_serializer(sent.command).data,
            "queued": sent.entries,
            "coalesced": sent.coalesced,
            "refused": refused,
        }
        return Response(answer, status=status.HTTP_201_CREATED)


class EntryFilter(django_filters.FilterSet):  # type: ignore[misc]
    """Which entries a list holds."""

    command = django_filters.UUIDFilter(field_name="command__uuid")
    request_type = django_filters.CharFilter(field_name="command__request_type", max_length=60)
    enrollment = IdFilter("enrollment_id")
    device = IdFilter("enrollment__device_id")
    serial_number = django_filters.CharFilter(
        field_name="enrollment__device__serial_number", max_length=64
    )
    state = django_filters.MultipleChoiceFilter(choices=QueueEntry.State.choices)

    class Meta:
        model = QueueEntry
        fields: list[str] = []


class EntryViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, Resource[QueueEntry]):
    """Commands for one enrollment each: where each stands, and what was said."""

    rights = {
        "list": "command.read",
        "retrieve": "command.read",
        "cancel": "command.cancel",
        "raw_request": "command.read",
        "raw_reply": "command.read",
    }
    serial_number_at = "enrollment__device__serial_number"
    queryset = selectors.entries()
    serializer_class = EntrySerializer
    filterset_class = EntryFilter
    lookup_value_converter = "int"

    def hold(self, row: QueueEntry) -> None:
        restraint.hold_still(row.command_id)
        super().hold(row)

    @extend_schema(request=None, responses=EntrySerializer)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, **kwargs: Any) -> Response:
        """Take the command out of the queue. One that was delivered cannot be cancelled."""
        entry = self.get_object()
        queue.cancel(Actor.of(request), entry.pk)
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(responses=RawSerializer)
    @action(detail=True, url_path="request")
    def raw_request(self, request: Request, **kwargs: Any) -> Response:
        """The command as the device gets it, its secrets masked."""
        return _raw(selectors.raw_request(Actor.of(request), self.get_object()))

    @extend_schema(responses=RawSerializer)
    @action(detail=True, url_path="reply")
    def raw_reply(self, request: Request, **kwargs: Any) -> Response:
        """The device's answer as it came, its secrets masked."""
        return _raw(selectors.raw_reply(Actor.of(request), self.get_object()))


class ApprovalFilter(django_filters.FilterSet):  # type: ignore[misc]
    """Which approvals a list holds."""

    state = django_filters.MultipleChoiceFilter(choices=Approval.State.choices)
    command = django_filters.UUIDFilter(field_name="command__uuid")

    class Meta:
        model = Approval
        fields: list[str] = []


class ApprovalViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, Resource[Approval]):
    """Commands that wait, or waited, for a second person. Only a person decides, and not with a
    token.
    """

    rights = {
        "list": "server.read",
        "retrieve": "server.read",
        "approve": "approval.decide",
        "refuse": "approval.decide",
    }
    queryset = Approval.objects.select_related("command")
    serializer_class = ApprovalSerializer
    filterset_class = ApprovalFilter
    lookup_value_converter = "int"

    def hold(self, row: Approval) -> None:
        restraint.hold_still(row.command_id)

    @extend_schema(request=None, responses=ApprovalSerializer)
    @action(detail=True, methods=["post"])
    def approve(self, request: Request, **kwargs: Any) -> Response:
        """Let the command go, after its delay."""
        done = restraint.approve(Actor.of(request), self.get_object().pk)
        return Response(ApprovalSerializer(done).data)

    @extend_schema(request=NoteSerializer, responses=ApprovalSerializer)
    @action(detail=True, methods=["post"])
    def refuse(self, request: Request, **kwargs: Any) -> Response:
        """End the command for all that it is for."""
        wanted = NoteSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        note = wanted.validated_data["note"]
        done = restraint.refuse(Actor.of(request), self.get_object().pk, note)
        return Response(ApprovalSerializer(done).data)


class PauseViewSet(mixins.ListModelMixin, Resource[Pause]):
    """Times in which no destructive command goes out, newest first."""

    rights = {
        "list": "server.read",
        "create": "destructive.pause",
        "resume": "destructive.resume",
    }
    queryset = Pause.objects.all()
    serializer_class = PauseSerializer
    filter_backends = ()

    @extend_schema(
        request=ReasonSerializer,
        responses={201: PauseSerializer},
        examples=[asking("Pause", reason="An account may be in the wrong hands.")],
    )
    def create(self, request: Request, **kwargs: Any) -> Response:
        """Pause all destructive commands. Where they are paused, that pause is shown."""
        wanted = ReasonSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        made = restraint.pause(Actor.of(request), wanted.validated_data["reason"])
        made.refresh_from_db()
        return Response(PauseSerializer(made).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=None, responses=PauseSerializer)
    @action(detail=False, methods=["post"])
    def resume(self, request: Request, **kwargs: Any) -> Response:
        """Let destructive commands go again, those that wait included."""
        return Response(PauseSerializer(restraint.resume(Actor.of(request))).data)


class CommandTypeViewSet(Resource[Any]):
    """What can be sent, with its parameters."""

    rights = {
        "list": "command.read",
        "retrieve": "command.read",
    }
    serializer_class = CommandTypeSerializer
    pagination_class = None
    filter_backends = ()
    lookup_field = "request_type"
    lookup_value_converter = "str"

    @extend_schema(responses=CommandTypeSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Every command that can be sent."""
        return Response(self.get_serializer(catalog.all_types(), many=True).data)

    @extend_schema(
        responses=CommandTypeSerializer,
        parameters=[OpenApiParameter("request_type", OpenApiTypes.STR, OpenApiParameter.PATH)],
    )
    def retrieve(self, request: Request, request_type: str) -> Response:
        """One command that can be sent."""
        try:
            found = catalog.get(request_type)
        except catalog.UnknownRequestType as error:
            raise NotFound(str(error)) from None
        return Response(self.get_serializer(found).data)


def _enqueue(actor: Actor, data: dict[str, Any], found: Found) -> queue.Enqueued:
    """Raises ValidationError by field for anything that the client can put right."""
    seconds = data.get("expires_in_seconds")
    try:
        with _by_field():
            return queue.enqueue(
                actor,
                request_type=data["request_type"],
                parameters=data["parameters"],
                enrollments=found.enrollments,
                expires_in=timedelta(seconds=seconds) if seconds else None,
            )
    except queue.NobodyCanRunIt as error:
        raise ValidationError(_complaints(_refused(found, error.refused))) from None


@contextmanager
def _by_field() -> Iterator[None]:
    """Raises ValidationError where the catalog does not know the command or its parameters."""
    try:
        yield
    except catalog.UnknownRequestType as error:
        raise ValidationError({"request_type": [str(error)]}, code="unknown") from None
    except catalog.InvalidParameters as error:
        raise ValidationError(
            {f"parameters.{key}": [why] for key, why in error.errors.items()}
        ) from None


def _names(data: dict[str, Any]) -> dict[NameKind, Any]:
    """Whom a client means, as it called them."""
    return {kind: data.get(key, ()) for kind, key in RECEIVER_FIELDS.items()}


def _refused(found: Found, refused: Iterable[queue.Refused]) -> list[dict[str, str]]:
    """Everyone who does not get the command, by the name that the client gave."""
    nobody = [(unfound.name, unfound.reason) for unfound in found.unfound]
    unable = [(found.enrollments[one.enrollment_id], one.reason) for one in refused]
    return [_refusal(name, reason) for name, reason in (*nobody, *unable)]


def _refusal(name: Name, reason: str) -> dict[str, str]:
    return {"kind": name.kind.value, "name": name.text, "reason": reason}


def _complaints(refused: list[dict[str, str]]) -> dict[str, list[ErrorDetail]]:
    by_field: dict[str, list[ErrorDetail]] = defaultdict(list)
    for one in refused:
        told = ErrorDetail(f"{one['name']}: {one['reason']}", code="refused")
        by_field[RECEIVER_FIELDS[NameKind(one["kind"])]].append(told)
    return by_field


def _raw(plist: str | None) -> Response:
    if plist is None:
        raise NotFound("There is nothing to show: the device has not answered.")
    return Response({"plist": plist})
