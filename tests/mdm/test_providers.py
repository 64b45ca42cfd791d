"""The file of identity providers that GUARD_OIDC names: what is wrong with it stops the start."""

from __future__ import annotations

from pathlib import Path

import pytest

from mdm import providers
from mdm.accounts.rights import LIMITABLE, Role
from mdm.env import BadEnvironment, Env
from mdm.providers import IdentityProvider, RoleRule

pytestmark = pytest.mark.django_db


GOOD = """
[[provider]]
id = "entra"
name = "Entra"
url = "https://login.example.com/realm/"
client_id = "guardmdm"
client_secret = "secret"

[[provider.role]]
claim_group = "it-admins"
role = "admin"

[[provider.role]]
claim_group = "it-kiosks"
role = "helper"
group = "Kiosks"
"""


def load(folder: Path, text: str, **more: str) -> Env:
    (folder / "oidc.toml").write_text(text)
    return Env.load({"GUARD_OIDC": str(folder / "oidc.toml"), **more})


def test_the_file_is_read(tmp_path: Path) -> None:
    (provider,) = load(tmp_path, GOOD).oidc

    assert provider == IdentityProvider(
        id="entra",
        name="Entra",
        url="https://login.example.com/realm",
        client_id="guardmdm",
        client_secret="secret",
        rules=(
            RoleRule(claim_group="it-admins", role="admin"),
            RoleRule(claim_group="it-kiosks", role="helper", group="Kiosks"),
        ),
    )
    assert "secret'" not in repr(provider)


def test_a_secret_can_stand_in_a_file_beside(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from a file\n")

    env = load(tmp_path, GOOD.replace('client_secret = "secret"', 'client_secret_file = "secret"'))

    assert env.oidc[0].client_secret == "from a file"


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("admin", "root", "there is no role root; there are viewer, helper"),
        ('"helper"', '"approver"', "the role approver is for all devices and takes no group"),
        ('id = "entra"', 'id = "En tra"', "small letters, digits and single hyphens"),
        ('id = "entra"', "", "a provider has no id"),
        ('name = "Entra"', "", "the provider entra has no name"),
        ('name = "Entra"', 'nmae = "Entra"', "nmae is not known; there are client_id"),
        ("https://login", "ldap://login", "its url is no address"),
        ('client_secret = "secret"', "", "needs either client_secret or client_secret_file"),
        ('client_secret = "secret"', 'client_secret_file = "none"', "none cannot be read"),
        ('claim_group = "it-admins"', "", "has no claim_group"),
        ("[[provider.role]]", "[[provider.roles]]", "roles is not known"),
        ("[[provider]]", "[provider]", "is no TOML|two brackets"),
        ("[[provider]]", "[[provider", "is no TOML"),
        (GOOD, "", r"has no \[\[provider\]\]"),
        (GOOD, GOOD + GOOD, "two providers have the id entra"),
        (GOOD, GOOD.partition("[[provider.role]]")[0], "nobody would get in"),
    ],
)
def test_a_file_that_is_wrong_stops_the_start_with_what_is_wrong(
    tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    assert old in GOOD

    with pytest.raises(BadEnvironment, match=complaint) as stopped:
        load(tmp_path, GOOD.replace(old, new))

    assert "GUARD_OIDC" in str(stopped.value)


def test_a_file_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(BadEnvironment, match="cannot be read"):
        Env.load({"GUARD_OIDC": str(tmp_path / "none.toml")})


def test_in_production_a_provider_is_reached_by_https(tmp_path: Path) -> None:
    production = {
        "GUARD_ENV": "production",
        "GUARD_SECRET_KEY": "x" * 50,
        "GUARD_ENCRYPTION_KEYS": "A" * 43 + "=",
        "DATABASE_URL": "postgresql://x/x",
        "REDIS_URL": "redis://x/0",
        "GUARD_PUBLIC_URL": "https://mdm.example.com",
        "GUARD_DASHBOARD_URL": "https://mdm.example.com",
    }
    load(tmp_path, GOOD, **production)

    with pytest.raises(BadEnvironment, match="the url of entra must begin with https://"):
        load(tmp_path, GOOD.replace("https://", "http://"), **production)


def test_the_file_knows_the_roles_that_there_are() -> None:
    assert list(providers.ROLES) == [role.value for role in Role]
    assert list(providers.LIMITABLE) == [role.value for role in LIMITABLE]


def test_the_docs_hold_a_file_that_is_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "roles.md").read_text()
    example = page.partition("```toml\n")[2].partition("```")[0]
    (tmp_path / "entra.secret").write_text("secret")

    assert load(tmp_path, example).oidc[0].rules
