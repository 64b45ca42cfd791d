"""Who acts: the first argument of every domain function that someone can trigger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from mdm.accounts import rights
from mdm.accounts.rights import EVERYWHERE, NOWHERE, Held, Role, Where
from mdm.audit.models import AuditEvent

if TYPE_CHECKING:
    from django.http import HttpRequest

    from mdm.accounts.models import ApiToken, User

Kind = AuditEvent.ActorKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """A person, a token, a device or the system, with where the request came from, and with the
    roles that they hold at this moment.
    """

    # None for a stranger, who has shown nothing that proves who they are.
    kind: AuditEvent.ActorKind | None
    id: str
    name: str
    active: bool = True
    user_id: int | None = None
    address: str = ""
    request_id: str = ""
    held: tuple[Held, ...] = ()
    # What a token is limited to.
    bound: Held | None = None

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
            held=user.held(),
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
            held=token.user.held(),
            bound=Held(Role(token.role), token.group_id),
        )

    @classmethod
    def device(cls, key: str) -> Actor:
        return cls(kind=Kind.DEVICE, id=key[:100], name=key[:200])

    @classmethod
    def system(cls, name: str) -> Actor:
        """A task or the command line, which may do everything; `name` says which."""
        return cls(kind=Kind.SYSTEM, id="", name=name)

    @classmethod
    def stranger(cls, request: HttpRequest, user: User | None = None) -> Actor:
        """Someone who could not prove who they are; `user` is whom they claimed to be, where there
        is one of that name. Other names are not kept: people type passwords into that field.
        """
        address, request_id = _whence(request)
        name = f"someone as {user}"[:200] if user else "someone unknown"
        pk = str(user.pk) if user else ""
        return cls(
            kind=None, id=pk, name=name, active=False, address=address, request_id=request_id
        )

    @classmethod
    def known(cls, request: HttpRequest, user: User) -> Actor:
        """This person, who makes this request and is not signed in."""
        address, request_id = _whence(request)
        return cls.person(user, address=address, request_id=request_id)

    @classmethod
    def of(cls, request: HttpRequest) -> Actor:
        """Who makes this request of the dashboard or the API, which has authenticated it; worked
        out once for each request.
        """
        from mdm.accounts.models import ApiToken

        # The API's requests wrap Django's.
        plain = getattr(request, "_request", request)
        known: Actor | None = getattr(plain, "guard_actor", None)
        if known is not None:
            return known
        address, request_id = _whence(request)
        auth = getattr(request, "auth", None)
        actor = (
            cls.token(auth, address=address, request_id=request_id)
            if isinstance(auth, ApiToken)
            else cls.person(request.user, address=address, request_id=request_id)  # type: ignore[arg-type]
        )
        plain.guard_actor = actor  # type: ignore[union-attr]
        return actor

    def where(self, action: str, request_type: str = "") -> Where:
        """For which devices this actor may do `action`; of "command.destroy" the command too.

        Raises KeyError for a right that is not in the table.
        """
        right = rights.BY_NAME[action]
        if not self.active:
            return NOWHERE
        if self.kind == Kind.SYSTEM:
            return EVERYWHERE
        return rights.where(self.held, right, self.bound, request_type)

    def __contains__(self, action: object) -> bool:
        """Whether this actor may do it for any device, so that a template can ask
        `{% if "link.create" in may %}`; of one destructive command "command.destroy DeviceLock".
        """
        return bool(self.where(*str(action).split(" ")))


def _whence(request: HttpRequest) -> tuple[str, str]:
    """The address that a request came from, and its id, which its lines in the log have too."""
    request_id = structlog.contextvars.get_contextvars().get("request_id", "")
    return request.META.get("REMOTE_ADDR", "")[:64], str(request_id)[:64]
