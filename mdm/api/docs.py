"""The API's own pages: its schema for programs, and Swagger's view of it for people."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.utils.decorators import method_decorator
from drf_spectacular.renderers import OpenApiJsonRenderer
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

_VERSION = "1"


class SchemaView(SpectacularJSONAPIView):
    """OpenAPI 3.1, for whoever may use the API. It is the same for all of them, and takes seconds
    to draw: a process draws it once.
    """

    rights = {"get": "dashboard.open"}

    def _get_schema_response(self, request: Request) -> HttpResponse:
        kind = "application/vnd.oai.openapi+json"
        return HttpResponse(self._document(), content_type=f"{kind}; version={_VERSION}")

    @classmethod
    @cache
    def _document(cls) -> bytes:
        generator = cls.generator_class(api_version=_VERSION)
        schema = generator.get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
        return OpenApiJsonRenderer().render(schema)


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
