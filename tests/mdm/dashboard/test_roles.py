"""Each role at each page: who is let in is written in roles.json, a line for each address."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.people import addresses, check, one_of_each, signed_in, undrawn

TABLE = Path(__file__).with_name("roles.json")
# Pages for everybody, and what has a table of its own.
OTHERS = ("accounts/", "api/", "enroll/", "ade/", "lab/", "setup/")

pytestmark = pytest.mark.django_db


def test_each_role_at_each_page() -> None:
    clients = {name: signed_in(user) for name, user in one_of_each().items()}
    found: dict[str, str] = {}
    with undrawn():
        for path in addresses(lambda route: not route.startswith(OTHERS)):
            for method in ("get", "post"):
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

    assert all("nobody" not in let_in for let_in in found.values())
    check(TABLE, found)
