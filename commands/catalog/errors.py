"""What can go wrong when a command is described; the queue's own errors live with the queue.

CatalogError
├── UnknownRequestType
├── InvalidParameters
└── MissingUnlockToken
"""

from __future__ import annotations

from collections.abc import Mapping


class CatalogError(Exception):
    """Any refusal of the catalog; its message is a sentence for people."""


class UnknownRequestType(CatalogError):
    """The catalog has no command of this name."""

    def __init__(self, request_type: str) -> None:
        super().__init__(f"There is no command named {request_type[:64]!r}.")
        self.request_type = request_type


class InvalidParameters(CatalogError):
    """The parameters of a command cannot be used; `errors` has one sentence per field.

    A field inside another is named with dots: `ReturnToService.Enabled`, `Identifiers.3`.
    """

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__(" ".join(f"{field}: {why}" for field, why in errors.items()))
        self.errors = dict(errors)


class MissingUnlockToken(CatalogError):
    """A ClearPasscode was built without the unlock token of the enrollment it is for."""
