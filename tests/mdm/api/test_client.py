"""The schema is good enough to make a typed client of: one is generated, checked, and used."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pytest_django.live_server_helper import LiveServer
from rest_framework.test import APIClient

from commands.models import Command
from tests.mdm.api.conftest import Enroll

STORY = Path(__file__).with_name("client_story.py")


@pytest.fixture
def folder(api: APIClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the generated package lies, and the story that is told with it."""
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps(api.get("/api/v1/schema/").json()))
    _run(
        *("openapi_python_client", "generate", "--path", str(schema), "--meta", "none"),
        *("--output-path", str(tmp_path / "guardmdm_client"), "--fail-on-warning"),
        *("--config", str(_without_hooks(tmp_path))),
    )
    (tmp_path / STORY.name).write_text(STORY.read_text())
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.django_db(transaction=True)
def test_a_client_made_of_the_schema_is_typed_and_works(
    folder: Path, live_server: LiveServer, token: str, enroll: Enroll
) -> None:
    _run(
        *("mypy", "--strict", "--config-file", os.devnull, "--cache-dir", os.devnull),
        *(STORY.name, "guardmdm_client"),
        cwd=folder,
    )
    story: Any = importlib.import_module(STORY.stem)
    client = story.AuthenticatedClient(base_url=live_server.url, token=token)
    machine = enroll("AAA", supervised=True).device
    enroll("BBB", state="CheckedOut")

    assert story.serial_numbers(client) == ["AAA"]

    sent = story.send(client, "RestartDevice", ["AAA", "NOBODY"], key="morning")
    again = story.send(client, "RestartDevice", ["AAA", "NOBODY"], key="morning")

    assert again == sent
    assert Command.objects.count() == 1
    assert [one.name for one in sent.refused] == ["NOBODY"]
    (entry,) = story.entries(client, sent)
    assert (entry.device, entry.state.value) == (machine.pk, "Queued")
    refused = story.send(client, "Nonsense", ["AAA"], key="noon")
    assert isinstance(refused, story.Error)
    assert refused.errors[0].attr == "request_type"
    assert story.read_again(client, machine.pk) == 304


def _without_hooks(folder: Path) -> Path:
    """The package is read by nobody, so nothing need put it into its format."""
    config = folder / "config.json"
    config.write_text(json.dumps({"post_hooks": []}))
    return config


def _run(*module: str, cwd: Path | None = None) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *module], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
