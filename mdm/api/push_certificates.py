"""The MDM push certificate in the API: what is in use, what was, and putting in the next one."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from mdm.api.resources import Resource
from mdm.audit.actor import Actor
from mdm.models import PushCertificate
from mdm.push import certificate
from mdm.push.pem import PushCertificateError

_LARGEST = 140_000


class PushCertificateSerializer(serializers.ModelSerializer[PushCertificate]):
    """A push certificate. Its key is shown nowhere."""

    class Meta:
        model = PushCertificate
        fields = [
            *("id", "topic", "serial", "not_before", "not_after", "uploaded_at", "active"),
            *("problem", "problem_at"),
        ]
        read_only_fields = fields


class NewPushCertificateSerializer(serializers.Serializer[Any]):
    """The files of a push certificate, with its private key in one of them."""

    certificate = serializers.CharField(
        max_length=_LARGEST, help_text="PEM, or the bytes of a PKCS#12 file in base64."
    )
    key = serializers.CharField(
        max_length=_LARGEST,
        required=False,
        allow_blank=True,
        default="",
        help_text="PEM, where the key is not with the certificate.",
    )
    password = serializers.CharField(
        max_length=200, required=False, allow_blank=True, default="", trim_whitespace=False
    )


class PushCertificateViewSet(
    mixins.ListModelMixin, mixins.RetrieveModelMixin, Resource[PushCertificate]
):
    """Push certificates, the one in use and those before it."""

    rights = {
        "list": "server.read",
        "retrieve": "server.read",
        "create": "push_certificate.install",
    }
    queryset = PushCertificate.objects.defer("certificate", "sealed_key")
    serializer_class = PushCertificateSerializer
    filter_backends = ()
    lookup_value_converter = "int"

    @extend_schema(request=NewPushCertificateSerializer, responses={201: PushCertificateSerializer})
    def create(self, request: Request, **kwargs: Any) -> Response:
        """Put a renewed certificate to use in place of the one before it."""
        wanted = NewPushCertificateSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        given = wanted.validated_data
        try:
            made = certificate.install(
                Actor.of(request),
                _bytes(given["certificate"]),
                key=given["key"].encode() or None,
                password=given["password"] or None,
            )
        except PushCertificateError as refused:
            raise ValidationError({"certificate": [str(refused)]}) from None
        # As the database has it, times included.
        made.refresh_from_db()
        return Response(PushCertificateSerializer(made).data, status=status.HTTP_201_CREATED)


def _bytes(text: str) -> bytes:
    if "-----BEGIN " in text:
        return text.encode()
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        said = "Give PEM, or the bytes of a PKCS#12 file in base64."
        raise ValidationError({"certificate": [said]}) from None
