"""The identity providers that people may sign in with: the file that GUARD_OIDC names, read and
checked when the server starts. Signing in with one is `mdm/accounts/oidc.py`; what their groups
give is `mdm/accounts/federation.py`.

Like all of `mdm/env.py`, it knows no Django.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

# The roles of mdm/accounts/rights.py, which knows Django; a test holds these to those.
ROLES = ("viewer", "helper", "operator", "approver", "admin")
LIMITABLE = ("viewer", "helper", "operator")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleRule:
    """Whoever is in `claim_group` at the provider has `role` here: for all devices, or for those
    of the group of devices whose name is `group`.
    """

    claim_group: str
    role: str
    group: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityProvider:
    """One provider. `url` is its issuer, below which its discovery document stands."""

    id: str
    name: str
    url: str
    client_id: str
    client_secret: str = field(repr=False)
    groups_claim: str = "groups"
    rules: tuple[RoleRule, ...] = ()


def read(text: str) -> tuple[IdentityProvider, ...]:
    """The providers of the TOML file at this path. Raises ValueError with what is wrong."""
    path = Path(text).expanduser().resolve()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no TOML ({error})") from None
    _check_keys(content, {"provider"}, f"{path}")
    providers = tuple(_provider(each, path) for each in _tables(content, "provider", f"{path}"))
    if not providers:
        raise ValueError(f"{path} has no [[provider]]")
    for what in ("id", "name"):
        given = [getattr(each, what) for each in providers]
        if twice := {value for value in given if given.count(value) > 1}:
            raise ValueError(f"two providers have the {what} {min(twice)}")
    return providers


def _provider(given: Mapping[str, Any], path: Path) -> IdentityProvider:
    id = _words(given, "id", "a provider", 40)
    where = f"the provider {id}"
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", id):
        raise ValueError(f"{where}: an id has small letters, digits and single hyphens")
    _check_keys(given, _KEYS, where)
    rules = tuple(_rule(each, where) for each in _tables(given, "role", where))
    if not rules:
        raise ValueError(f"{where} has no [[provider.role]], so that nobody would get in")
    return IdentityProvider(
        id=id,
        name=_words(given, "name", where, 40),
        url=_url(_words(given, "url", where, 500), where),
        client_id=_words(given, "client_id", where, 500),
        client_secret=_secret(given, where, path),
        groups_claim=_words({"groups_claim": "groups", **given}, "groups_claim", where, 200),
        rules=rules,
    )


def _rule(given: Mapping[str, Any], where: str) -> RoleRule:
    _check_keys(given, {"claim_group", "role", "group"}, f"a role of {where}")
    claim_group = _words(given, "claim_group", f"a role of {where}", 500)
    where = f"{where}, {claim_group}"
    role = _words(given, "role", where, 40)
    if role not in ROLES:
        raise ValueError(f"{where}: there is no role {role}; there are {', '.join(ROLES)}")
    group = _words(given, "group", where, 100) if "group" in given else ""
    if group and role not in LIMITABLE:
        raise ValueError(f"{where}: the role {role} is for all devices and takes no group")
    return RoleRule(claim_group=claim_group, role=role, group=group)


def _secret(given: Mapping[str, Any], where: str, path: Path) -> str:
    if ("client_secret" in given) == ("client_secret_file" in given):
        raise ValueError(f"{where} needs either client_secret or client_secret_file")
    if "client_secret" in given:
        return _words(given, "client_secret", where, 1000)
    file = path.parent / Path(_words(given, "client_secret_file", where, 1000)).expanduser()
    try:
        secret = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise ValueError(f"{where}: its client_secret_file {file} cannot be read") from None
    return _words({"the secret": secret}, "the secret", f"{where}, {file}", 1000)


def _url(url: str, where: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"{where}: its url is no address such as https://login.example.com")
    return url.rstrip("/")


def _words(given: Mapping[str, Any], key: str, where: str, limit: int) -> str:
    value = given.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{where} has no {key}")
    if len(value) > limit or not value.isprintable():
        raise ValueError(f"{where}: {key} is longer than {limit} letters, or not printable")
    return value.strip()


def _tables(given: Mapping[str, Any], key: str, where: str) -> list[dict[str, Any]]:
    found = given.get(key, [])
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise ValueError(f"{where}: {key} is written with two brackets, as [[...{key}]]")
    return found


def _check_keys(given: Mapping[str, Any], known: set[str], where: str) -> None:
    if unknown := given.keys() - known:
        raise ValueError(
            f"{where}: {min(unknown)} is not known; there are {', '.join(sorted(known))}"
        )


_KEYS = {
    *("id", "name", "url", "client_id", "client_secret", "client_secret_file"),
    *("groups_claim", "role"),
}
