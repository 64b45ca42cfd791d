"""Who acts: the first argument of every domain function that someone can trigger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mdm.audit.models import AuditEvent

if TYPE_CHECKING:
    from django.http import HttpRequest

    from mdm.accounts.models import ApiToken, User

Kind = AuditEvent.ActorKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """A person, a token, a device or the system, with where the request came from."""

    kind: AuditEvent.ActorKind
    id: str
    name: str
    active: bool = True
    user_id: int | None = None
    address: str = ""
    request_id: str = ""

    @classmethod
    def person(cls, user: User, *, address: str = "", request_id: str = "") -> Actor:
        return cls(
            kind=Kind.PERSON,
            id=str(user.pk),
            name=str(user)[:200],
            active=user.is_active,
            user_id=user.pk,
            address=address,
            request_id=request_id,
        )

    @classmethod
    def token(cls, token: ApiToken, *, address: str = "", request_id: str = "") -> Actor:
        return cls(
            kind=Kind.TOKEN,
            id=token.token_key,
            name=f"{token.name} ({token.user})"[:200],
            active=token.user.is_active,
            user_id=token.user_id,
            address=address,
            request_id=request_id,
        )

    @classmethod
    def device(cls, key: str) -> Actor:
        return cls(kind=Kind.DEVICE, id=key[:100], name=key[:200])

    @classmethod
    def system(cls, name: str) -> Actor:
        """A task or the command line; `name` says which."""
        return cls(kind=Kind.SYSTEM, id="", name=name)

    @classmethod
    def of(cls, request: HttpRequest) -> Actor:
        """Who makes this request of the dashboard or the API, which has authenticated it."""
        from mdm.accounts.models import ApiToken

        address = request.META.get("REMOTE_ADDR", "")[:64]
        request_id = request.META.get("HTTP_X_REQUEST_ID", "")[:64]
        auth = getattr(request, "auth", None)
        if isinstance(auth, ApiToken):
            return cls.token(auth, address=address, request_id=request_id)
        return cls.person(request.user, address=address, request_id=request_id)  # type: ignore[arg-type]
