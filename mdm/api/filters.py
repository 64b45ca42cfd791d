"""Filters that several lists have."""

from __future__ import annotations

import django_filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field


@extend_schema_field(OpenApiTypes.INT64)
class IdFilter(django_filters.NumberFilter):  # type: ignore[misc]
    """Rows that point to the thing with this id."""

    def __init__(self, field_name: str) -> None:
        super().__init__(field_name=field_name, min_value=1, max_value=2**63 - 1, decimal_places=0)
