"""The API's own pages: its schema for programs, and Swagger's view of it for people."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.utils.decorators import method_decorator
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response


class SchemaView(SpectacularJSONAPIView):
    """OpenAPI 3.1, for whoever may use the API."""

    rights = {"get": "dashboard.open"}


@method_decorator(login_required, name="dispatch")
class DocsView(SpectacularSwaggerSplitView):
    """Swagger UI without inline script or style; visitors are asked to sign in first."""

    permission_classes = (AllowAny,)
    url_name = "api:schema"
    template_name = "mdm/api/docs.html"

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        response: Response = super().get(request, *args, **kwargs)  # type: ignore[no-untyped-call]
        return response
