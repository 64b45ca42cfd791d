"""`guard tokens`: the tokens of API clients, listed, made and revoked."""

from __future__ import annotations

import argparse
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError
from django.db.models import Q

from mdm.accounts import tokens
from mdm.accounts.models import ApiToken, User
from mdm.accounts.rights import Role
from mdm.audit.actor import Actor
from mdm.management.acts import Printer
from mdm.management.printing import when
from mdm.models import Group
from mdm.serializers import TokenSerializer

NOT_UNDERSTOOD = 2


def arguments(acts: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = acts.add_parser(
        "tokens", help="list the tokens of API clients, make one, revoke one"
    )
    parser.add_argument("--create", metavar="NAME", help="make a token of this name")
    parser.add_argument("--user", metavar="WHO", help="whose: a user name or mail address")
    parser.add_argument("--role", choices=[role.value for role in Role], default=Role.VIEWER.value)
    parser.add_argument("--group", metavar="NAME", help="only for the devices of this group")
    parser.add_argument("--days", type=int, default=90, metavar="N", help="for how long; 90")
    parser.add_argument("--revoke", metavar="KEY", help="end the token that begins so")
    return parser


def run(actor: Actor, options: dict[str, Any], out: Printer) -> int:
    if options["create"] is not None:
        _create(actor, options, out)
    elif options["revoke"] is not None:
        _revoke(actor, options["revoke"], out)
    else:
        _list(options, out)
    return 0


def _list(options: dict[str, Any], out: Printer) -> None:
    found = list(ApiToken.objects.select_related("user", "group").order_by("-created"))
    if options["json"]:
        out.json(TokenSerializer(found, many=True).data)
        return
    heads = ("KEY", "NAME", "OF", "ROLE", "GROUP", "EXPIRES", "LAST USED")
    out.table(
        heads,
        [
            (
                token.token_key,
                token.name,
                token.user.username,
                token.role,
                token.group.name if token.group else "",
                when(token.expiry),
                when(token.last_used_at),
            )
            for token in found
        ],
    )


def _create(actor: Actor, options: dict[str, Any], out: Printer) -> None:
    try:
        token, text = tokens.create(
            actor,
            _user(options["user"]),
            name=options["create"],
            role=Role(options["role"]),
            group=_group(options["group"]),
            expires_in=timedelta(days=options["days"]),
        )
    except tokens.BadToken as error:
        raise CommandError(str(error), returncode=NOT_UNDERSTOOD) from None
    except tokens.TooMany as error:
        raise CommandError(str(error)) from None
    if options["json"]:
        out.json({"token": text, **TokenSerializer(token).data})
    else:
        out.line(text)


def _revoke(actor: Actor, key: str, out: Printer) -> None:
    found = list(ApiToken.objects.filter(token_key__startswith=key)[:2])
    if len(found) != 1:
        many = "More than one token begins" if found else "No token begins"
        raise CommandError(f"{many} with {key}.", returncode=NOT_UNDERSTOOD)
    tokens.revoke(actor, found[0])
    out.line(f"Revoked {found[0].name}.")


def _user(who: str | None) -> User:
    if not who:
        raise CommandError("Say whose token it is: --user NAME", returncode=NOT_UNDERSTOOD)
    user = User.objects.filter(Q(username=who) | Q(email__iexact=who), is_active=True).first()
    if user is None:
        raise CommandError(f"Nobody who may sign in is called {who}.", returncode=NOT_UNDERSTOOD)
    return user


def _group(name: str | None) -> Group | None:
    if not name:
        return None
    group = Group.objects.filter(name__iexact=name).first()
    if group is None:
        raise CommandError(f"There is no group {name}.", returncode=NOT_UNDERSTOOD)
    return group
