"""Paging of the API: cursors, so that a page costs the same however deep it lies."""

from __future__ import annotations

from typing import Any

from django.utils.dateparse import parse_datetime
from rest_framework import pagination
from rest_framework.exceptions import NotFound
from rest_framework.request import Request


class CursorPagination(pagination.CursorPagination):
    """Newest first, by id: unique, so a cursor is a place and never an offset."""

    ordering = "-id"
    page_size = 100
    page_size_query_param = "page_size"
    max_page_size = 1000

    def decode_cursor(self, request: Request) -> Any:
        """The cursor of this request, or None. Raises NotFound for one that we did not make.

        The base class hands a position on to the database unseen.
        """
        cursor = super().decode_cursor(request)
        if cursor is None or cursor.position is None or self.is_place(str(cursor.position)):
            return cursor
        raise NotFound(self.invalid_cursor_message)

    def is_place(self, position: str) -> bool:
        """Whether the database can compare this with the column that orders the rows."""
        return position.isascii() and position.isdigit() and int(position[:20]) <= _BIGGEST_ID


class NewestFirst(CursorPagination):
    """For rows without a number."""

    ordering = "-created"

    def is_place(self, position: str) -> bool:
        try:
            moment = parse_datetime(position)
        except ValueError:
            return False
        return moment is not None and moment.tzinfo is not None


_BIGGEST_ID = 2**63 - 1
