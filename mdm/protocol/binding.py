"""What an identity certificate may be used for, as written into its subjectAltName.

`enrollment` writes it when it issues; `mdm.identity` reads it at Authenticate.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from enum import StrEnum
from urllib.parse import quote, unquote

from cryptography import x509

from mdm.protocol.errors import ProtocolError

PREFIX = "urn:guardmdm:identity:v1?="
MAX_URI = 2048

_PLAIN = re.compile(r"[^\x00-\x1f\x7f]{1,255}")
_WORD = re.compile(r"[a-z][a-z0-9_-]{0,31}")


class BadBinding(ProtocolError):
    """A certificate whose binding cannot be read."""


class NoBinding(BadBinding):
    """A certificate that says nothing about what it is for."""


class Purpose(StrEnum):
    """The kinds of enrollment that an identity can be issued for."""

    DEVICE = "device"
    USER_ENROLLMENT = "user_enrollment"
    RENEWAL = "renewal"


@dataclass(frozen=True, slots=True)
class Binding:
    """What an identity was issued for.

    `way` is how its owner came in ("link", "ade", ...), `reference` the opaque id of what let it
    in (a challenge's). `serial_number` is None where any device may use it; `enrollment` is the
    internal key of the one enrollment a renewal is for, and None otherwise.
    """

    purpose: Purpose
    way: str
    reference: str
    serial_number: str | None = None
    enrollment: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.purpose, Purpose) or not _WORD.fullmatch(self.way):
            raise _bad("names no purpose or way")
        for text in (self.reference, self.serial_number, self.enrollment):
            if text is not None and not _is_plain(text):
                raise _bad("has an empty, overlong or unprintable field")
        if (self.purpose is Purpose.RENEWAL) != (self.enrollment is not None):
            raise _bad("names an enrollment when, and only when, it is for a renewal")

    def to_uri(self) -> str:
        """The binding as the URI that goes into a subjectAltName."""
        pairs = ((name, getattr(self, name)) for name in _NAMES)
        return PREFIX + "&".join(f"{name}={quote(text, safe='')}" for name, text in pairs if text)

    @classmethod
    def from_uri(cls, uri: str) -> Binding:
        """Raises BadBinding for anything that `to_uri` would not have written."""
        if len(uri) > MAX_URI or not uri.startswith(PREFIX):
            raise _bad("is no binding of this version")
        pairs = [pair.partition("=") for pair in uri.removeprefix(PREFIX).split("&")]
        try:
            values = {name: unquote(text, errors="strict") for name, _, text in pairs}
            purpose = Purpose(values.pop("purpose"))
            binding = cls(purpose=purpose, **values)
        except (KeyError, ValueError, TypeError) as error:
            raise _bad("lacks a field or has one too many") from error
        if binding.to_uri() != uri:
            raise _bad("is not written as this server writes it")
        return binding

    @classmethod
    def from_certificate(cls, certificate: x509.Certificate) -> Binding:
        """Raises NoBinding where there is none, BadBinding where it cannot be read."""
        try:
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except x509.ExtensionNotFound as error:
            raise NoBinding("no_binding", "The certificate has no binding.") from error
        except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
            raise _bad("stands among extensions that cannot be read") from error
        uris = [
            uri
            for uri in names.value.get_values_for_type(x509.UniformResourceIdentifier)
            if uri.startswith("urn:guardmdm:")
        ]
        if not uris:
            raise NoBinding("no_binding", "The certificate has no binding.")
        if len(uris) > 1:
            raise _bad("is there more than once")
        return cls.from_uri(uris[0])


_NAMES = tuple(field.name for field in fields(Binding))


def _is_plain(text: str) -> bool:
    return _PLAIN.fullmatch(text) is not None and text.isprintable()


def _bad(what: str) -> BadBinding:
    return BadBinding("bad_binding", f"The certificate's binding {what}.")
