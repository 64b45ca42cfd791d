"""Overview, push certificate, quarantine, links, audit: what an admin sees and decides there."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from enrollment.models import EnrollmentLink
from lab.authority import Authority, Pair, ensure_authority
from mdm import refusals
from mdm.accounts import tokens
from mdm.accounts.models import ApiToken, User
from mdm.audit.models import AuditEvent
from mdm.health.models import ProbeResult
from mdm.models import PushCertificate, Quarantine
from tests.enrollment import factory
from tests.machines import Machine
from tests.mdm.dashboard.conftest import Enroll
from tests.mdm.health.steps import all_alive, all_good


@pytest.fixture(scope="module")
def apple(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return ensure_authority(tmp_path_factory.mktemp("apple"))


def test_the_overview_counts_as_the_list_does(signed_in: Client, enroll: Enroll) -> None:
    enroll("A")
    enroll("B", last_seen_at=timezone.now() - timedelta(days=9))
    enroll("C", push_problem="410 Unregistered")
    enroll("D", state="Authenticated")

    page = signed_in.get("/").content.decode()

    for state in ("managed", "quiet", "suspect"):
        (number,) = re.findall(
            rf'stat" href="/devices/\?state={state}">.*?stat-number">(\d+)<', page, re.DOTALL
        )
        listed = signed_in.get(f"/devices/?state={state}").content.decode()
        assert f'data-count="{number}"' in listed, state
    assert "1 device cannot be woken." in page


def test_a_new_server_says_what_to_do_first_until_all_of_it_worked(
    signed_in: Client, settings: Settings
) -> None:
    settings.ENV = dataclasses.replace(settings.ENV, device_ca=factory.root())
    all_alive()
    assert "First steps" in signed_in.get("/").content.decode()
    all_good()

    page = signed_in.get("/").content.decode()

    assert "First steps" not in page
    assert "Needs attention" not in page
    ProbeResult.objects.filter(name="mail").update(good=False, found="550 no such user")
    page = signed_in.get("/").content.decode()
    assert "First steps" not in page
    assert "Mail: it worked, and does not now." in page
    assert "550 no such user" in page


def test_the_chart_has_each_of_thirty_days(signed_in: Client, enroll: Enroll) -> None:
    enroll("A")
    enroll("B")

    page = signed_in.get("/")

    assert page.context["enrollments"]["values"] == [0] * 29 + [2]
    assert len(page.context["enrollments"]["labels"]) == 30


def _certificate(apple: Authority, folder: Path, topic: str, *, days: int = 365) -> Pair:
    now = dt.datetime.now(dt.UTC)
    return apple.issue_push_certificate(
        topic,
        not_before=now - dt.timedelta(days=1),
        not_after=now + dt.timedelta(days=days),
        into=Pair(folder / f"{topic}.pem", folder / f"{topic}.key"),
    )


def _upload(client: Client, pair: Pair) -> object:
    files = {
        "certificate": SimpleUploadedFile("push.pem", pair.certificate.read_bytes()),
        "key": SimpleUploadedFile("push.key", pair.key.read_bytes()),
    }
    return client.post("/settings/push-certificate/", files)


def test_a_push_certificate_is_uploaded_and_shown(
    signed_in: Client, apple: Authority, tmp_path: Path
) -> None:
    answer = _upload(signed_in, _certificate(apple, tmp_path, "com.apple.mgmt.External.1", days=20))

    page = signed_in.get("/settings/push-certificate/").content.decode()
    assert answer.status_code == 302
    assert "com.apple.mgmt.External.1" in page
    assert "Needs attention" in page
    assert "expires in" in signed_in.get("/").content.decode()


def test_a_push_certificate_that_would_cut_devices_off_is_refused_with_the_reason(
    signed_in: Client, apple: Authority, tmp_path: Path, enroll: Enroll
) -> None:
    enroll()

    answer = _upload(signed_in, _certificate(apple, tmp_path, "com.apple.mgmt.External.2"))

    assert answer.status_code == 422
    assert "would be cut off" in answer.content.decode()
    assert not PushCertificate.objects.exists()


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nx", b"0" * 200_000]
)
def test_what_is_no_certificate_is_refused_in_words(
    signed_in: Client, db: None, content: bytes
) -> None:
    file = SimpleUploadedFile("push.pem", content)

    answer = signed_in.post("/settings/push-certificate/", {"certificate": file})

    assert answer.status_code == 422
    assert 'role="alert"' in answer.content.decode()


@pytest.mark.django_db
def test_a_device_in_quarantine_is_let_in_by_an_admins_word(
    signed_in: Client, machine: Machine
) -> None:
    poser = Machine.new(udid=machine.udid, serial_number=machine.serial_number)
    assert poser.authenticate().status == 403
    case = Quarantine.objects.get()

    listed = signed_in.get("/enrollment/quarantine/").content.decode()
    page = signed_in.get(f"/enrollment/quarantine/{case.pk}/").content.decode()
    assert "1 case waits in quarantine." in signed_in.get("/").content.decode()
    signed_in.post(f"/enrollment/quarantine/{case.pk}/", {"decision": "accept"})

    assert machine.serial_number in listed
    assert "This device is enrolled with another certificate" in page
    assert bytes(machine.enrollment.identity_sha256).hex() in page
    assert poser.authenticate().status == 200


@pytest.mark.django_db
def test_a_rejected_device_stays_out_and_a_decision_is_made_once(
    signed_in: Client, machine: Machine
) -> None:
    poser = Machine.new(udid=machine.udid, serial_number=machine.serial_number)
    poser.authenticate()
    case = Quarantine.objects.get()

    signed_in.post(f"/enrollment/quarantine/{case.pk}/", {"decision": "reject"})
    again = signed_in.post(
        f"/enrollment/quarantine/{case.pk}/", {"decision": "reject"}, follow=True
    )

    assert poser.authenticate().status == 403
    assert machine.idle().status == 200
    assert "decided already" in again.content.decode()
    assert "Decide</h2>" not in signed_in.get(f"/enrollment/quarantine/{case.pk}/").content.decode()


@pytest.mark.django_db
def test_a_link_is_made_handed_over_and_closed(signed_in: Client, machine: Machine) -> None:
    answer = signed_in.post(
        "/enrollment/links/new/",
        {"name": "Class 7b", "max_uses": "30", "expires": "7", "serial_number": ""},
    )
    page = signed_in.get(answer["Location"]).content.decode()
    (address,) = re.findall(r'value="https://[^/]+(/enroll/[^"]+)"', page)

    assert Client().get(address).status_code == 200
    link = EnrollmentLink.objects.get()
    # Once; later it takes a reason, which the audit log keeps.
    assert address not in signed_in.get(f"/enrollment/links/{link.pk}/").content.decode()
    for reason in ("", " ", "x" * 201):
        kept = signed_in.post(f"/enrollment/links/{link.pk}/address", {"reason": reason})
        assert (kept.status_code, address in kept.content.decode()) == (422, False)
    assert not AuditEvent.objects.filter(action="link.read_address").exists()
    shown = signed_in.post(f"/enrollment/links/{link.pk}/address", {"reason": "for Ben"})
    assert address in shown.content.decode()
    assert "no-store" in shown["Cache-Control"]
    event = AuditEvent.objects.get(action="link.read_address")
    assert (event.subject_id, event.after) == (str(link.pk), {"reason": "for Ben"})
    signed_in.post(f"/enrollment/links/{link.pk}/revoke")
    assert Client().get(address).status_code == 410
    assert "/enroll/" not in signed_in.get(f"/enrollment/links/{link.pk}/").content.decode()
    closed = signed_in.post(f"/enrollment/links/{link.pk}/address", {"reason": "x"}, follow=True)
    assert "/enroll/" not in closed.content.decode()
    assert "Closed" in signed_in.get("/enrollment/links/").content.decode()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("max_uses", "0"),
        ("max_uses", "x"),
        ("max_uses", "9" * 30),
        ("expires", "x"),
        ("serial_number", "a b"),
    ],
)
def test_a_link_that_cannot_be_made_is_explained_beside_the_field(
    signed_in: Client, db: None, field: str, value: str
) -> None:
    form = {"name": "x", "max_uses": "1", "expires": "", "serial_number": "", field: value}

    answer = signed_in.post("/enrollment/links/new/", form)

    assert answer.status_code == 422
    assert "invalid-feedback" in answer.content.decode()
    assert not EnrollmentLink.objects.exists()


def test_the_audit_log_tells_who_did_what_and_hides_nothing_hostile(
    signed_in: Client, enroll: Enroll
) -> None:
    device = enroll("S1", device_name="<img src=x>")
    signed_in.post(f"/devices/{device.pk}/retire/")

    page = signed_in.get("/settings/audit/?q=retire").content.decode()

    assert "device.retire" in page
    assert "&lt;img src=x&gt;" in page
    by_system = signed_in.get("/settings/audit/?by=system").content.decode()
    assert ">device.retire</a>" not in by_system


def test_a_token_is_shown_once_works_and_can_be_revoked(signed_in: Client, admin: User) -> None:
    form = {"name": "Inventory <script>", "days": "30"}
    page = signed_in.post("/settings/tokens/new/", form).content.decode()
    (text,) = re.findall(r'id="token" value="([^"]+)"', page)
    bearer = Client(headers={"Authorization": f"Bearer {text}"})

    listed = signed_in.get("/settings/tokens/").content.decode()
    assert bearer.get("/api/v1/devices/").status_code == 200
    assert bearer.post("/api/v1/commands/", {}).status_code == 403
    assert text not in listed
    assert "<script>" not in listed.replace("<script src", "")
    token = ApiToken.objects.get()
    signed_in.post(f"/settings/tokens/{token.token_key}/revoke")
    assert bearer.get("/api/v1/devices/").status_code == 401


def test_a_token_is_revoked_by_its_owner_alone(signed_in: Client, admin: User) -> None:
    signed_in.post("/settings/tokens/new/", {"name": "mine", "days": "7", "write": "on"})
    other = Client()
    other.force_login(User.objects.create_superuser("ben", "ben@example.com"))

    token = ApiToken.objects.get()
    assert other.post(f"/settings/tokens/{token.token_key}/revoke").status_code == 404
    assert "mine" not in other.get("/settings/tokens/").content.decode()
    assert ApiToken.objects.exists()


@pytest.mark.parametrize("wrong", [{"name": ""}, {"name": "a\nb"}, {"days": "99999"}])
def test_a_token_that_cannot_be_made_is_explained(
    signed_in: Client, admin: User, wrong: dict[str, str]
) -> None:
    answer = signed_in.post("/settings/tokens/new/", {"name": "x", "days": "7", **wrong})

    assert answer.status_code == 422
    assert not ApiToken.objects.exists()


def test_one_token_too_many_is_explained(
    signed_in: Client, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "MOST", 0)

    answer = signed_in.post("/settings/tokens/new/", {"name": "x", "days": "7"})

    assert answer.status_code == 409
    assert "Revoke one first" in answer.text
    assert not ApiToken.objects.exists()


@pytest.mark.django_db
def test_what_was_turned_away_is_summed_up(signed_in: Client, machine: Machine) -> None:
    Machine.new(udid=machine.udid).idle()
    refusals.tally.write()

    page = signed_in.get("/enrollment/refused/").content.decode()

    assert "Identity mismatch" in page
    assert "127.0.0.1" in page
