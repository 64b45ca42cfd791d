"""A server from before there were roles: whoever was there keeps what they might."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

BEFORE, AFTER = [("accounts", "0001_initial")], [("accounts", "0002_roles")]


def _migrate(where: list[tuple[str, str]]):
    executor = MigrationExecutor(connection)
    executor.migrate(where)
    return MigrationExecutor(connection).loader.project_state(where).apps


@pytest.fixture
def _as_it_is_now(transactional_db: None) -> Iterator[None]:
    yield
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes("accounts"))


@pytest.mark.usefixtures("_as_it_is_now")
def test_people_become_admins_and_tokens_keep_to_what_they_were_made_for() -> None:
    old = _migrate(BEFORE)
    user = old.get_model("accounts", "User").objects.create(username="ada", email="a@example.com")
    for name, scopes in (("reader", ["read"]), ("writer", ["read", "write"])):
        old.get_model("accounts", "ApiToken").objects.create(
            user_id=user.pk, name=name, scopes=scopes, digest=name, token_key=name
        )

    new = _migrate(AFTER)

    (given,) = new.get_model("accounts", "Grant").objects.values("user_id", "role", "group_id")
    assert given == {"user_id": user.pk, "role": "admin", "group_id": None}
    tokens = new.get_model("accounts", "ApiToken").objects
    assert dict(tokens.values_list("name", "role")) == {"reader": "viewer", "writer": "admin"}
