"""`manage.py lab abm`, spoken to a running lab."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from abm.wire.server_token import make_key_pair
from lab.place import Place
from lab.process import running_lab
from mdm.local import sockets
from mdm.local.state import claim
from tests.lab.loop import in_loop


async def lab(*arguments: object) -> str:
    said = StringIO()
    await asyncio.to_thread(call_command, "lab", "abm", *map(str, arguments), stdout=said)
    return said.getvalue()


@in_loop
async def test_the_portal_obeys_the_command_line(tmp_path: Path, settings: Settings) -> None:
    state_dir = tmp_path / "var"
    settings.ENV = dataclasses.replace(settings.ENV, state_dir=state_dir)
    claim(state_dir)
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "lab"]
    sockets.make_folder(state_dir)
    certificate, token, listed = (tmp_path / name for name in ("c.pem", "t.p7m", "s.csv"))
    certificate.write_bytes(make_key_pair("Tests", datetime.now(UTC)).certificate_pem)

    async with running_lab(Place.under(state_dir)):
        await lab("server", "Depot", "--certificate", certificate, "--maximum", 50)
        await lab("default", "Mac", "Depot")
        bought = json.loads(await lab("buy", 2, "--family", "iPad", "--json"))["bought"]
        listed.write_text("\n".join([*bought, "NOBODY"]))
        told = json.loads(await lab("csv", "Depot", listed, "--json"))
        assert told == {"assigned": bought, "unknown": ["NOBODY"]}
        await lab("token", "Depot", "--into", token)
        assert "smime.p7m" in token.read_text()
        await lab("certificate", "Depot", certificate)
        await lab("change", "asset_tag", "CART-3", bought[0])
        await lab("unassign", bought[1])
        await lab("assign", "Depot", bought[1])
        await lab("release", bought[1])
        await lab("fault", "slow", "--seconds", 1, "--count", 3)

        shown = await lab("status")
        assert "Depot: 1 devices" in shown
        assert bought[0] in shown
        assert bought[1] not in shown
        assert "Fault: slow, 3 more" in shown
        await lab("fault", "clear")
        assert "Fault" not in await lab("status", "--search", bought[0])
        with pytest.raises(CommandError, match="No MDM server is called"):
            await lab("assign", "Nowhere", bought[0])
        with pytest.raises(CommandError, match="cannot be read"):
            await lab("csv", "Depot", tmp_path / "missing.csv")
