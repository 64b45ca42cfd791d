"""A state folder is used by one server at a time, and only by the one it belongs to."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mdm.local.environment import adopt, announce, secrets_of, withdraw
from mdm.local.errors import DiskFull, StateError
from mdm.local.state import LAYOUT, State, check_room, claim, plain_errors, write_whole


def test_a_folder_in_use_is_refused_and_the_owner_named(tmp_path: Path) -> None:
    with State.open(tmp_path / "var"), pytest.raises(StateError, match=f"process {os.getpid()}"):
        State.open(tmp_path / "var")


def test_a_folder_that_was_given_back_can_be_taken_again(tmp_path: Path) -> None:
    State.open(tmp_path).close()
    State.open(tmp_path).close()


def test_a_folder_with_files_of_others_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(StateError, match="not made by GuardMDM"):
        State.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("marker", ["", "[]", "{}", '{"product": "Other", "layout": 1}'])
def test_a_folder_marked_by_something_else_is_refused(tmp_path: Path, marker: str) -> None:
    (tmp_path / "guardmdm.json").write_text(marker)
    with pytest.raises(StateError, match="not made by GuardMDM"):
        State.open(tmp_path)


def test_a_folder_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    marker = {"product": "GuardMDM", "layout": LAYOUT + 1}
    (tmp_path / "guardmdm.json").write_text(json.dumps(marker))
    with pytest.raises(StateError, match="newer GuardMDM"):
        State.open(tmp_path)


def test_a_file_in_the_place_of_the_folder_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("")
    with pytest.raises(StateError, match="is in the way"):
        State.open(tmp_path / "var")


def test_too_little_room_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match="is full"):
        check_room(tmp_path, needed=10**18)


def test_a_disk_that_fills_while_writing_is_said_plainly(tmp_path: Path) -> None:
    with (
        pytest.raises(DiskFull),
        plain_errors(tmp_path),
        Path("/dev/full").open("w", buffering=1) as full,
    ):
        full.write("one line\n")


def test_a_write_that_was_broken_off_does_not_stop_the_next(tmp_path: Path) -> None:
    (tmp_path / "file.new").write_text("half")
    write_whole(tmp_path / "file", "whole")
    assert (tmp_path / "file").read_text() == "whole"


def test_secrets_are_made_once_and_for_their_owner_only(tmp_path: Path) -> None:
    made = secrets_of(tmp_path)
    assert set(made) == {"GUARD_SECRET_KEY", "GUARD_ENCRYPTION_KEYS"}
    assert secrets_of(tmp_path) == made
    assert (tmp_path / "secrets.env").stat().st_mode & 0o777 == 0o600


def test_commands_adopt_the_secrets_of_the_server_but_not_over_given_ones(tmp_path: Path) -> None:
    made = secrets_of(tmp_path)
    environ = {"GUARD_STATE_DIR": str(tmp_path), "GUARD_SECRET_KEY": "given"}
    adopt(environ, "guard")
    assert environ["GUARD_SECRET_KEY"] == "given"
    assert environ["GUARD_ENCRYPTION_KEYS"] == made["GUARD_ENCRYPTION_KEYS"]


def test_commands_meet_the_server_that_runs_until_it_stops(tmp_path: Path) -> None:
    announce(tmp_path, {"GUARD_ENV": "demo", "REDIS_URL": "redis://here", "HOME": "/root"})
    beside = {"GUARD_STATE_DIR": str(tmp_path)}
    adopt(beside, "guard")
    withdraw(tmp_path)
    after = {"GUARD_STATE_DIR": str(tmp_path)}
    adopt(after, "guard")
    assert beside == {**after, "GUARD_ENV": "demo", "REDIS_URL": "redis://here"}


@pytest.mark.parametrize("command", ["up", "demo"])
def test_a_server_that_starts_takes_nothing_from_one_that_was_killed(
    tmp_path: Path, command: str
) -> None:
    announce(tmp_path, {"REDIS_URL": "unix:///gone"})
    environ = {"GUARD_STATE_DIR": str(tmp_path)}
    adopt(environ, command)
    assert environ == {"GUARD_STATE_DIR": str(tmp_path)}


def test_production_never_adopts_secrets_of_a_state_folder(tmp_path: Path) -> None:
    secrets_of(tmp_path)
    environ = {"GUARD_STATE_DIR": str(tmp_path), "GUARD_ENV": "production"}
    adopt(environ, "guard")
    assert "GUARD_ENCRYPTION_KEYS" not in environ


def test_claiming_twice_changes_nothing(tmp_path: Path) -> None:
    claim(tmp_path)
    file = tmp_path / "guardmdm.json"

    def written() -> tuple[int, int, int]:
        """Not when it was read, which claiming does."""
        found = file.stat()
        return found.st_ino, found.st_mode, found.st_mtime_ns

    before = written()
    claim(tmp_path)
    assert written() == before
