"""What `manage.py guard` does beyond devices and commands."""

from __future__ import annotations

import csv
import json
from datetime import timedelta
from io import StringIO

import pytest
from django.utils import timezone

from abm.models import Server, SyncRun
from commands import queue
from mdm.accounts import tokens
from mdm.accounts.models import ApiToken
from mdm.accounts.rights import Role
from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent
from mdm.models import Group
from mdm.secrets import seal
from tests.mdm.api.test_guard import guard
from tests.people import someone

pytestmark = pytest.mark.django_db


def connect(name: str) -> Server:
    return Server.objects.create(name=name, sealed_token=seal("abm_token", b"{}"))


def test_a_sync_is_asked_for_and_its_end_told() -> None:
    assert guard("sync").code == 2
    berlin, _ = connect("Berlin"), connect("Paris")
    assert guard("sync", "London").code == 2

    run = guard("sync", "--json", "--wait", "0")

    assert run.code == 3
    assert [each["state"] for each in run.json] == ["Waiting", "Waiting"]
    SyncRun.objects.update(state="Finished", finished_at=timezone.now(), added=3)
    SyncRun.objects.filter(server=berlin).update(state="Failed", sentence="The token expired.")
    assert guard("sync", "Berlin").code == 0
    assert "Berlin" in guard("sync", "Berlin").out
    assert SyncRun.objects.filter(server=berlin).count() == 2


def test_a_sync_that_is_under_way_is_joined() -> None:
    connect("Berlin")
    guard("sync")
    SyncRun.objects.update(state="Running")
    assert guard("sync").code == 0
    assert SyncRun.objects.count() == 1


def test_tokens_are_made_listed_and_revoked() -> None:
    ada = someone(Role.OPERATOR, name="ada")

    made = guard("tokens", "--create", "Night job", "--user", "ada@example.com", "--days", "3")

    token = ApiToken.objects.get()
    assert (token.user, token.role, token.name) == (ada, "viewer", "Night job")
    assert made.out.strip().startswith("guard_")
    listed = guard("tokens").out
    assert "Night job" in listed
    assert made.out.strip() not in listed
    assert guard("tokens", "--revoke", token.token_key[:6]).code == 0
    assert not ApiToken.objects.exists()
    assert AuditEvent.objects.get(action="token.create").actor_name.startswith("command line (")


@pytest.mark.parametrize(
    "words",
    [
        ("--create", "x"),
        ("--create", "x", "--user", "nobody"),
        ("--create", "x", "--user", "ada", "--role", "admin"),
        ("--create", "x", "--user", "ada", "--group", "None"),
        ("--create", "x", "--user", "ada", "--days", "4000"),
        ("--revoke", "nothing"),
        ("--revoke", ""),
    ],
)
def test_what_cannot_be_made_or_revoked_is_said_so(words: tuple[str, ...]) -> None:
    ada = someone(Role.OPERATOR, name="ada")
    for name in ("one", "two"):
        tokens.create(
            Actor.person(ada), ada, name=name, role=Role.VIEWER, expires_in=timedelta(days=1)
        )
    assert guard("tokens", *words).code == 2
    assert ApiToken.objects.count() == 2


def test_the_serial_numbers_of_a_file_go_into_a_group(tmp_path) -> None:
    file = tmp_path / "loaners.csv"
    file.write_text("Serial Number,Owner\nC02AAA111,Ada\nC02BBB222,Bob\n???,Eve\n")

    run = guard("import", str(file), "--group", "Loaners")

    group = Group.objects.get(name="Loaners")
    assert set(group.members.values_list("serial_number", flat=True)) == {"C02AAA111", "C02BBB222"}
    assert run.code == 1
    assert "Line 4: ???" in run.out
    again = guard("import", str(file), "--group", "loaners", "--json")
    assert (again.json["added"], again.json["read"]) == (0, 2)
    assert guard("import", str(tmp_path / "none"), "--group", "Loaners").code == 2


def test_lists_are_exported_as_csv_and_as_lines_of_json(enroll) -> None:
    enroll("AAA", device_name="=cmd()")
    rows = list(csv.DictReader(StringIO(guard("export", "devices").out)))
    assert [row["Serial number"] for row in rows] == ["AAA"]
    assert "'=cmd()" in rows[0].values()
    said = [json.loads(line) for line in guard("export", "devices", "--json").out.splitlines()]
    assert said[0]["serial"] == "AAA"
    assert guard("export", "abm-devices").code == 0


def test_a_command_that_failed_is_sent_again(enroll) -> None:
    enrollment = enroll("AAA")
    command = queue.enqueue(
        Actor.system("test"),
        request_type="SecurityInfo",
        parameters={},
        enrollments=[enrollment.pk],
    ).command
    assert guard("retry", str(command.uuid)).code == 1
    command.entries.update(state="Error", finished_at=timezone.now())

    run = guard("retry", str(command.uuid), "--json")

    assert run.code == 0
    assert run.json["command"]["uuid"] != str(command.uuid)
    assert [entry["state"] for entry in run.json["entries"]] == ["Queued"]
