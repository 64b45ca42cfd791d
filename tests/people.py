"""People with roles, and who may reach which address."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.template.base import Template
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from mdm.accounts.models import Grant, User
from mdm.accounts.rights import Role
from mdm.models import Group

# Ids of things that are not there: whoever may ask gets a 404, whoever may not a 403.
VALUES = {
    "int": "999999999",
    "slug": "timeline",
    "uuid": "7c1f3b52-6a53-4a7b-9c9e-3a4d9d7f1c11",
    "str": "nothing",
}


def someone(
    *roles: Role, name: str = "", group: Group | None = None, also: Iterable[str] = ()
) -> User:
    """A person who holds these roles, for all devices or for those of `group`."""
    name = name or "-".join(role.value for role in roles) or "nobody"
    user = User.objects.create_user(name, f"{name}@example.com", first_name=name.title())
    for role in roles:
        Grant.objects.create(user=user, role=role, group=group, also=list(also), given_by="a test")
    return user


def one_of_each() -> dict[str, User]:
    """Someone for each role, and someone without any, by the role's name."""
    return {**{role.value: someone(role) for role in Role}, "nobody": someone()}


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def addresses(wanted: Callable[[str], bool]) -> list[str]:
    """Every address below the root that is `wanted`, with made-up values in it."""
    found = {_filled_in(route) for route in _routes(get_resolver()) if wanted(route)}
    return sorted(found)


@contextmanager
def undrawn() -> Iterator[None]:
    """Meanwhile templates give nothing: who is let in is decided before a page is drawn, which
    takes most of the time.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Template, "render", lambda self, context: "")
        yield


def check(path: Path, found: Mapping[str, str]) -> None:
    """Compare with what is written in `path`, line by line; WRITE_BASELINES=1 writes it instead,
    for people to read before it is kept.
    """
    if os.environ.get("WRITE_BASELINES"):
        path.write_text(json.dumps(dict(sorted(found.items())), indent=1) + "\n")
    known = json.loads(path.read_text())
    changed = {
        line: (known.get(line), found.get(line))
        for line in known.keys() | found.keys()
        if known.get(line) != found.get(line)
    }
    assert not changed, changed


def _routes(resolver: URLResolver, prefix: str = "") -> list[str]:
    found: list[str] = []
    for pattern in resolver.url_patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            found += _routes(pattern, route)
        elif isinstance(pattern, URLPattern) and "^" not in route:
            found.append(route)
    return found


def _filled_in(route: str) -> str:
    parts = route.replace("<", "|<").replace(">", ">|").split("|")
    return "/" + "".join(
        VALUES[part[1:-1].partition(":")[0]] if part.startswith("<") else part for part in parts
    )
