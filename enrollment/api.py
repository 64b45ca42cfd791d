"""Enrollment links in the REST API. The page behind a link is in `enrollment/views.py`."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import mixins, status, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from enrollment import links
from enrollment.errors import BadLink
from enrollment.models import EnrollmentLink
from enrollment.serializers import LinkSerializer, NewLinkSerializer, ShownLinkSerializer
from mdm.audit.actor import Actor


class LinkViewSet(
    mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[EnrollmentLink]
):
    """Links that let people enroll a device."""

    queryset = EnrollmentLink.objects.defer("sealed_token", "token_sha256")
    serializer_class = LinkSerializer
    filter_backends = ()
    lookup_value_converter = "int"

    @extend_schema(request=NewLinkSerializer, responses={201: ShownLinkSerializer})
    def create(self, request: Request, **kwargs: Any) -> Response:
        """Make a link. The answer shows its address; lists do not."""
        wanted = NewLinkSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        try:
            link = links.create(Actor.of(request), **wanted.validated_data)
        except BadLink as error:
            raise ValidationError({error.field: [str(error)]}) from None
        shown = {"url": links.url(link), **LinkSerializer(link).data}
        return Response(
            shown, status=status.HTTP_201_CREATED, headers={"Cache-Control": "no-store"}
        )

    @extend_schema(request=None, responses=LinkSerializer)
    @action(detail=True, methods=["post"])
    def revoke(self, request: Request, **kwargs: Any) -> Response:
        """Close the link at once, also to those who already hold its profile."""
        return Response(LinkSerializer(links.revoke(Actor.of(request), self.get_object())).data)
