"""A device's timeline as the API gives it, page by page."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.utils.urls import replace_query_param

from mdm import timeline
from mdm.models import Device
from mdm.navigation import Event
from mdm.pagination import CursorPagination


class TimelineEventSerializer(serializers.Serializer[Any]):
    """A line of a device's timeline. `what` and `detail` may come from the device."""

    at = serializers.DateTimeField()
    what = serializers.CharField()
    detail = serializers.CharField()
    url = serializers.CharField(
        help_text="Where the dashboard tells more of it; empty where it does not."
    )


class TimelinePagination(CursorPagination):
    """From the newest event back; `previous` is null, since nobody walks the other way."""

    base_url: str = ""
    _next: timeline.Place | None = None

    def walk(self, request: Request, device: Device) -> list[Event]:
        """The events of the page that was asked for. Raises NotFound for a cursor not of ours."""
        text = request.query_params.get(self.cursor_query_param)
        try:
            place = timeline.Place.read(text) if text else None
        except ValueError:
            raise NotFound(self.invalid_cursor_message) from None
        self.base_url = request.build_absolute_uri()
        size = self.get_page_size(request) or self.max_page_size
        events, self._next = timeline.read(device, place, size)
        return events

    def get_next_link(self) -> str | None:
        if self._next is None:
            return None
        return replace_query_param(self.base_url, self.cursor_query_param, str(self._next))

    def get_previous_link(self) -> None:
        return None
