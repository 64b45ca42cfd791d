"""Each role at each endpoint: who is let in is written in roles.json, a line for each address. With
a token of the same role it is the same, but for what no token may.
"""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from mdm.accounts import tokens
from mdm.accounts.rights import Role
from mdm.audit.actor import Actor
from tests.people import addresses, check, one_of_each, signed_in, someone

TABLE = Path(__file__).with_name("roles.json")
METHODS = ("get", "post", "patch", "delete")
# What would let a stolen token last, keep its owner out, or undo what holds it back.
NOT_BY_TOKEN = {
    "POST /api/v1/tokens/",
    "POST /api/v1/people/",
    "POST /api/v1/people/999999999/activate/",
    "POST /api/v1/people/999999999/link/",
    "GET /api/v1/sessions/",
    "GET /api/v1/sessions/999999999/",
    "DELETE /api/v1/sessions/999999999/",
    "POST /api/v1/grants/",
    "POST /api/v1/approvals/999999999/approve/",
    "POST /api/v1/approvals/999999999/refuse/",
    "POST /api/v1/destructive-pauses/resume/",
    "POST /api/v1/webhooks/",
    "PATCH /api/v1/webhooks/999999999/",
    "DELETE /api/v1/webhooks/999999999/",
    "POST /api/v1/webhooks/999999999/replay/",
    "POST /api/v1/webhooks/999999999/rotate/",
    "POST /api/v1/webhooks/999999999/test/",
    "POST /api/v1/webhook-deliveries/999999999/replay/",
}

pytestmark = pytest.mark.django_db


def test_each_role_at_each_endpoint() -> None:
    clients = {name: signed_in(user) for name, user in one_of_each().items()}

    found = _let_in(clients)

    assert [line for line, let_in in found.items() if "nobody" in let_in] == []
    check(TABLE, found)


def test_a_token_may_what_its_role_may_but_nothing_that_would_make_it_last(bearer) -> None:
    owner = someone(Role.ADMIN)
    clients = {
        role.value: bearer(
            tokens.create(
                Actor.person(owner), owner, name=role, role=role, expires_in=timedelta(days=1)
            )[1]
        )
        for role in Role
    }

    found = _let_in(clients)

    assert {line for line, let_in in found.items() if not let_in} == NOT_BY_TOKEN
    known = json.loads(TABLE.read_text())
    assert {**found, **{line: known[line] for line in NOT_BY_TOKEN}} == known


def _is_endpoint(route: str) -> bool:
    """Whether it is one that does something: not the page of the docs, nor what is no address."""
    return route.startswith("api/v1/") and route not in {"api/v1/", "api/v1/docs/"}


def _let_in(clients) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in addresses(_is_endpoint):
        for method in METHODS:
            let_in = []
            for name, client in clients.items():
                answer = getattr(client, method)(path)
                assert answer.status_code < 500, (method, path)
                if answer.status_code == 405:
                    break
                if answer.status_code != 403:
                    let_in.append(name)
            else:
                found[f"{method.upper()} {path}"] = " ".join(let_in)
    return found
