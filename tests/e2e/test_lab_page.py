"""The lab's page in the dashboard: a person spoils things with its buttons."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from abm.wire.server_token import make_key_pair
from lab.devices.hardware import Model
from mdm.local.environment import ROOT
from tests import environ
from tests.e2e.world import World


@pytest.fixture(scope="module")
def serial(world: World) -> str:
    """The serial number of an iPhone that has enrolled."""
    (serial,) = world.add(Model.IPHONE)
    return serial


def test_the_page_stands_in_the_navigation_and_shows_each_device(world: World, serial: str) -> None:
    assert 'href="/lab/"' in world.admin.page("/")
    page = world.admin.page("/lab/")
    assert serial in page
    assert world.lab.apns_url in page


def test_a_device_is_locked_and_unlocked_from_the_page(world: World, serial: str) -> None:
    for fault, locked in (("locked", True), ("unlocked", False)):
        world.admin.press("/lab/", "/lab/device", serial=serial, fault=fault)
        assert world.lab.device(serial)["locked"] is locked


def test_a_device_that_left_is_enrolled_again_from_the_page(world: World, serial: str) -> None:
    world.admin.press("/lab/", "/lab/device", serial=serial, fault="remove")
    assert world.lab.device(serial)["state"] == "unenrolled"
    world.admin.press("/lab/", "/lab/device", serial=serial, fault="enroll")
    world.wait_for(serial, "enrolled")


def test_push_faults_are_ordered_and_taken_back_from_the_page(world: World) -> None:
    # So many that the server's own pushes do not use them up meanwhile.
    page = world.admin.press("/lab/", "/lab/apns", fault="slow", count="90000")
    assert re.search(r"slow, \d+ more", page)
    page = world.admin.press("/lab/", "/lab/apns", fault="clear")
    assert not re.search(r"slow, \d+ more", page)


@pytest.mark.parametrize(
    ("action", "fields", "reason"),
    [
        ("/lab/add", {"count": "0"}, "from 1 to 100"),
        ("/lab/add", {"count": "many"}, "from 1 to 100"),
        ("/lab/device", {"serial": "NOBODY", "fault": "locked"}, "No device in this lab"),
        ("/lab/apns", {"fault": "418"}, "No push fault is called"),
    ],
)
def test_what_makes_no_sense_is_said_on_the_page(
    world: World, action: str, fields: dict[str, str], reason: str
) -> None:
    assert reason in world.admin.press("/lab/", action, **fields)


def test_the_lab_refuses_to_be_installed_in_production(tmp_path: Path) -> None:
    settings = environ.fresh(
        GUARD_ENV="production",
        GUARD_EXTRA_APPS="lab",
        GUARD_STATE_DIR=str(tmp_path),
        GUARD_SECRET_KEY="k" * 60,
        GUARD_ENCRYPTION_KEYS="QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=",
        DATABASE_URL="postgresql://nobody@localhost/none",
        REDIS_URL="redis://localhost:1/0",
        GUARD_PUBLIC_URL="https://mdm.example.com",
        GUARD_DASHBOARD_URL="https://mdm.example.com",
    )
    for command in ("check", "lab", "demo"):
        done = subprocess.run(
            [sys.executable, "manage.py", command],
            cwd=ROOT,
            env=settings,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode != 0
        assert "cannot be installed in production" in done.stderr
        assert done.stderr.count("\n") == 1, done.stderr


def test_a_person_is_the_portals_admin_on_its_page(world: World, tmp_path: Path) -> None:
    admin = world.admin
    assert 'href="/lab/portal/"' in admin.page("/")
    certificate = make_key_pair("Tests", datetime.now(UTC)).certificate_pem.decode()
    world.lab.order("abm", act="server", name="Branch", certificate=certificate)

    admin.press("/lab/portal/", "/lab/portal/buy", count="3", family="Mac", name="Branch")
    rows = world.lab.order("abm", act="status")["devices"]
    serials = [row["serial"] for row in rows if row["server"] == "Branch"]
    assert len(serials) == 3

    some = " ".join(serials[:2])
    admin.press("/lab/portal/", "/lab/portal/devices", serials=some, act="change", value="CART-9")
    page = admin.page(f"/lab/portal/?q={serials[0]}")
    assert "CART-9" in page
    assert serials[2] not in page
    admin.press("/lab/portal/", "/lab/portal/devices", serials=some, act="unassign")
    rows = world.lab.order("abm", act="status")["devices"]
    assert [row["serial"] for row in rows if row["server"] == "Branch"] == serials[2:]

    token = admin.press("/lab/portal/", "/lab/portal/token", name="Branch")
    assert "application/pkcs7-mime" in token

    # The beat's syncs go on meanwhile: a fault of requests that nobody makes.
    page = admin.press("/lab/portal/", "/lab/portal/fault", fault="throttled", count="9")
    assert "throttled, 9 more" in page
    assert "throttled, 9 more" not in admin.press(
        "/lab/portal/", "/lab/portal/fault", fault="clear"
    )


@pytest.mark.parametrize(
    ("action", "fields", "reason"),
    [
        ("buy", {"count": "0"}, "from 1 to 1,000"),
        ("buy", {"count": "1", "name": "Nowhere"}, "No MDM server is called"),
        ("devices", {"serials": "", "act": "assign"}, "by serial number"),
        ("devices", {"serials": "NOBODY", "act": "unassign"}, "has no device NOBODY"),
        ("token", {"name": "Nowhere"}, "No MDM server is called"),
        ("server", {"name": " "}, "needs a name"),
        ("default", {"family": "Toaster", "name": ""}, "Families are"),
        ("fault", {"fault": "418"}, "No portal fault is called"),
    ],
)
def test_what_the_portal_does_not_take_is_said_on_its_page(
    world: World, action: str, fields: dict[str, str], reason: str
) -> None:
    assert reason in world.admin.press("/lab/portal/", f"/lab/portal/{action}", **fields)
