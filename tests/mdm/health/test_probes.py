"""What is tried for a new server, each against the real thing, and how a step leaves the list."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from celery.exceptions import SoftTimeLimitExceeded
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import TestCase
from django.utils import timezone

from abm.models import Definition
from mdm.accounts.rights import Role
from mdm.audit.actor import Actor
from mdm.audit.models import AuditEvent
from mdm.audit.record import NotAllowed
from mdm.health import backups, own, probes, readiness, tasks
from mdm.health.models import Backup, ProbeResult
from mdm.health.probes import Found, NoReason
from mdm.local import postgres
from mdm.models import InventorySection, PushCertificate
from mdm.push import certificate as certificates
from profiles import following, giving
from tests.abm.pages.conftest import Connect, Listed
from tests.mdm.dashboard.conftest import Enroll
from tests.mdm.health.smtp import post
from tests.mdm.health.steps import all_good, prove, ready_admin, tried, use_mail_server
from tests.mdm.push.service import Service
from tests.people import someone
from tests.profiles.steps import ADMIN, make_profile

pytestmark = pytest.mark.django_db


def actor(*roles: Role) -> Actor:
    return Actor.person(someone(*roles))


# --- Mail ----------------------------------------------------------------------------------------


def test_a_mail_goes_to_whoever_asked_and_the_servers_answer_is_shown(settings: Any) -> None:
    with post() as office:
        use_mail_server(settings, office.port)
        probes.ask(actor(Role.ADMIN), "mail")
        probes.carry_out("mail")

    (mail,) = office.mails
    assert "To: admin@example.com" in mail
    assert settings.ENV.dashboard_url in mail
    result = ProbeResult.objects.get()
    assert result.good
    assert "250 2.0.0 queued as 4711" in result.found
    assert "admin@example.com" not in result.found


@pytest.mark.parametrize(
    ("says", "words"),
    [
        (
            {"RCPT": "550 5.1.1 <Admin@example.com> unknown"},
            "to whoever asked: 550 5.1.1 <whoever asked> unknown.",
        ),
        ({"MAIL": "530 5.7.0 sign in first"}, "530 5.7.0 sign in first"),
        ({"DATA": "451 4.3.0 try later"}, "451 4.3.0 try later"),
        ({"END": "554 5.7.1 spam"}, "554 5.7.1 spam"),
    ],
)
def test_why_a_mail_is_not_taken_is_said_in_the_servers_words(
    settings: Any, says: dict[str, str], words: str
) -> None:
    with post(**says) as office:
        use_mail_server(settings, office.port)
        probes.ask(actor(Role.ADMIN), "mail")
        probes.carry_out("mail")

    result = ProbeResult.objects.get()
    assert (result.good, result.done_at) == (False, None)
    assert words in result.found
    assert "admin@example.com" not in result.found.lower()


def test_without_a_mail_server_nothing_is_sent_and_with_one_away_that_is_said(
    settings: Any,
) -> None:
    probes.ask(actor(Role.ADMIN), "mail")
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
    assert "Set GUARD_SMTP_URL" in tried("mail").found
    with post() as office:
        use_mail_server(settings, office.port)
    assert "Connection refused" in tried("mail").found


# --- Apple ---------------------------------------------------------------------------------------


def test_the_push_certificate_is_good_when_apple_takes_it(
    service: Service, push_certificate: PushCertificate, topic: str
) -> None:
    result = tried("push_certificate")

    assert result.good
    assert f"Apple takes it for {topic}" in result.found
    assert service.counts["400 BadDeviceToken"] == 1


def test_a_push_certificate_that_apple_refuses_or_cannot_be_asked_about_is_not_good(
    service: Service, push_certificate: PushCertificate
) -> None:
    PushCertificate.objects.update(topic="com.apple.mgmt.External.another")
    assert "Apple does not take it: 400 TopicDisallowed" in tried("push_certificate").found
    service.hang_up()
    found = tried("push_certificate").found
    service.listen()
    assert "cannot be reached from here" in found
    PushCertificate.objects.update(not_after=timezone.now() - timedelta(days=1))
    assert "It expired on" in tried("push_certificate").found
    PushCertificate.objects.all().delete()
    assert certificates.active() is None
    assert "There is no push certificate" in tried("push_certificate").found


@pytest.mark.django_db(transaction=True)
def test_apple_is_asked_about_the_account_of_each_abm_server(script: Any, server: Any) -> None:
    script.say(200, {"auth_session_token": "S"})
    script.say(200, {"server_name": "Office", "server_uuid": "U", "org_name": "Acme"})
    assert tried("abm_server").found == "Apple answers for Office, as Office of Acme."
    script.answers = []
    script.say(403, b"T_C_NOT_SIGNED")
    result = tried("abm_server")
    assert not result.good
    assert result.found.startswith("Office: ")
    server.delete()
    assert "No server of Apple Business Manager is connected" in tried("abm_server").found


def test_a_default_profile_is_good_when_apple_has_it_for_the_devices_that_get_it(
    connect: Connect, listed: Listed
) -> None:
    office = connect("Office")
    assert "No OS has a default" in tried("ade_default").found
    giving.set_default(ADMIN, "iOS", None, make_profile())
    listed("MAC", office, os="OSX", device_family="Mac")
    following.tell(["MAC"])
    following.follow()
    assert "Devices wait that run macOS" in tried("ade_default").found
    giving.set_default(ADMIN, "macOS", None, make_profile("Macs"))
    following.follow()
    assert "has not been told of Macs for Office yet" in tried("ade_default").found

    Definition.objects.update(state=Definition.State.REFUSED, refusal="LOCALE_INVALID")
    assert "Apple refuses Macs: LOCALE_INVALID" in tried("ade_default").found
    Definition.objects.update(state=Definition.State.DEFINED, profile_uuid="5E6F")

    result = tried("ade_default")
    assert result.good
    assert result.found.startswith("iOS and iPadOS: Office; macOS: Macs.")


# --- Devices, people, backups --------------------------------------------------------------------


def test_the_first_device_counts_when_it_has_answered(enroll: Enroll) -> None:
    assert "No device has enrolled" in tried("first_device").found
    device = enroll("C02FIRST")
    assert "C02FIRST enrolled and has not answered yet" in tried("first_device").found
    InventorySection.objects.create(
        enrollment=device.enrollment, section="x", data={}, reported_at=timezone.now()
    )
    assert tried("first_device").found == "C02FIRST enrolled, and answered."


def test_two_admins_with_a_second_factor_are_needed() -> None:
    assert "There is no admin; two" in tried("second_admin").found
    ready_admin("ada")
    someone(Role.OPERATOR)
    assert "There is only one admin; two" in tried("second_admin").found
    ben = someone(Role.ADMIN, name="ben")
    one = "1 of 2 admins has signed in and has a second factor; two are needed."
    assert tried("second_admin").found == one, "and nobody's name"
    ben.password = "one that he chose"
    ben.last_login = timezone.now()
    ben.save()
    assert tried("second_admin").found == one
    prove(ben)
    assert tried("second_admin").good
    ben.is_active = False
    ben.save()
    assert "only one admin" in tried("second_admin").found


def test_a_backup_counts_for_a_week_and_says_which_keys_go_with_it(capsys: Any) -> None:
    assert "None is known of" in tried("backup").found
    call_command("backup_taken", "snapshot of the volume")
    assert "GUARD_ENCRYPTION_KEYS and GUARD_SECRET_KEY" in capsys.readouterr().out
    result = tried("backup")
    assert result.good
    assert "snapshot of the volume. Are the keys kept too?" in result.found
    Backup.objects.update(at=timezone.now() - own.BACKUP_AGE - timedelta(minutes=1))
    result = tried("backup")
    assert not result.good
    assert "over a week ago" in result.found
    assert result.done_at, "that it was done once stays known"
    with pytest.raises(CommandError, match="how it was taken"):
        call_command("backup_taken", " ")


@pytest.mark.django_db(transaction=True)
def test_the_database_is_dumped_whole_and_old_files_go(tmp_path: Path, capsys: Any) -> None:
    ours = f"guardmdm-{readiness.who()[:8]}-2020010"
    days = ((f"{ours}1-000000.dump", 9), (f"{ours}2-000000.part", 2), (f"{ours}3-000000.part", 0))
    others = ("mine.txt", "guardmdm-0therone-20200101-000000.dump", "guardmdm-0therone-1.part")
    for name, ago in (*days, *((name, 9) for name in others)):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, times=(time.time() - ago * 86_400,) * 2)
    someone(Role.ADMIN, name="kept-in-the-dump")

    call_command("backup", str(tmp_path), keep=1)

    left = {file.name for file in tmp_path.iterdir()}
    (made,) = left - {*others, f"{ours}3-000000.part"}
    assert left >= set(others)
    file = tmp_path / made
    assert str(file) in capsys.readouterr().out
    assert file.stat().st_mode & 0o077 == 0
    read = [str(postgres.binary("pg_restore")), "--data-only", "--table=accounts_user", "-f-", file]
    assert b"kept-in-the-dump" in subprocess.run(read, capture_output=True, check=True).stdout
    noted = Backup.objects.get()
    assert (noted.size, noted.by) == (file.stat().st_size, "command line")
    assert AuditEvent.objects.filter(action="backup.note", subject_id=noted.pk).exists()


@pytest.mark.django_db(transaction=True)
def test_how_to_connect_is_in_a_file_of_our_own_and_not_among_the_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pg_dump").write_text(
        f"""#!/bin/sh
        {{ echo "$@"; stat -c %a "$PGSERVICEFILE"; cat "$PGSERVICEFILE"; }} >{tmp_path}/heard
        echo "$PGSERVICEFILE" >&2; exit 1"""
    )
    (tmp_path / "pg_dump").chmod(0o700)
    monkeypatch.setattr(postgres, "binary", lambda program: tmp_path / program)
    given = {"password": "secret 1", "sslpassword": "secret 2", "passfile": "/a/passfile"}
    for name, value in given.items():
        monkeypatch.setitem(connection.settings_dict["OPTIONS"], name, value)
    connection.close()
    with pytest.raises(backups.BackupFailed) as failed:
        backups.take(Actor.system("test"), tmp_path / "to")
    connection.close()

    arguments, mode, *lines = (tmp_path / "heard").read_text().splitlines()
    assert (mode, lines[0]) == ("600", "[guardmdm]")
    assert {f"{name}={value}" for name, value in given.items()} <= set(lines)
    assert "secret" not in arguments
    assert not Path(str(failed.value).split("said: ")[1]).exists()
    assert list((tmp_path / "to").iterdir()) == []


def test_a_draft_is_a_new_file_whatever_was_linked_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, victim = timezone.now(), tmp_path / "victim"
    monkeypatch.setattr(timezone, "now", lambda: now)
    name = f"guardmdm-{readiness.who()[:8]}-{now:%Y%m%d-%H%M%S}.part"
    (tmp_path / name).symlink_to(victim)
    with pytest.raises(backups.BackupFailed, match="File exists"):
        backups.take(Actor.system("test"), tmp_path)
    assert not victim.exists()


def test_a_backup_that_fails_is_none(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    with pytest.raises(backups.BackupFailed, match="cannot be written to"):
        backups.take(Actor.system("test"), in_the_way)
    assert not Backup.objects.exists()


# --- Asking, dismissing, doing again -------------------------------------------------------------


def test_a_step_is_dismissed_with_a_reason_and_brought_back() -> None:
    admin, operator = actor(Role.ADMIN), actor(Role.OPERATOR)
    with pytest.raises(NotAllowed):
        probes.dismiss(operator, "backup", "we back up the volume")
    with pytest.raises(NoReason):
        probes.dismiss(admin, "backup", "  ")
    with pytest.raises(KeyError):
        probes.dismiss(admin, "nothing", "x")

    probes.dismiss(admin, "backup", "we back up the volume")
    tried("backup")

    (line,) = [line for line in probes.lines() if line.probe.name == "backup"]
    assert (line.state, line.settled) == ("dismissed", True)
    assert line.result.dismissed_because == "we back up the volume"
    probes.restore(admin, "backup")
    probes.restore(admin, "backup")
    (line,) = [line for line in probes.lines() if line.probe.name == "backup"]
    assert (line.state, line.settled) == ("bad", False)
    told = AuditEvent.objects.filter(subject_kind="probe").order_by("pk")
    assert list(told.values_list("action", "subject_id")) == [
        ("health.dismiss", "backup"),
        ("health.restore", "backup"),
    ]


def test_a_question_that_no_worker_takes_is_shown_as_such() -> None:
    probes.ask(actor(Role.ADMIN), "backup")
    (line,) = [line for line in probes.lines() if line.probe.name == "backup"]
    assert (line.state, line.unheard) == ("busy", False)
    ProbeResult.objects.update(asked_at=timezone.now() - timedelta(minutes=2))
    (line,) = [line for line in probes.lines() if line.probe.name == "backup"]
    assert (line.state, line.unheard) == ("new", True)


def test_of_workers_that_come_at_once_one_tries_and_a_new_question_is_tried_again() -> None:
    probes.carry_out("backup")
    first = ProbeResult.objects.get().checked_at
    probes.carry_out("backup")
    assert ProbeResult.objects.get().checked_at == first
    probes.ask(actor(Role.ADMIN), "backup")
    probes.carry_out("backup")
    assert ProbeResult.objects.get().checked_at > first


def test_a_question_is_put_again_when_it_was_answered_and_a_while_ago(monkeypatch: Any) -> None:
    put: list[str] = []
    monkeypatch.setattr(current_app, "send_task", lambda name, args, **_: put.extend(args))
    admin, now, rows = actor(Role.ADMIN), timezone.now(), ProbeResult.objects.all()
    probes.ask(admin, "backup")
    for asked, began, checked, again in (
        (10, None, None, False),
        (29, 20, 10, False),
        (31, 20, 10, True),
        # Nobody has taken it, or it is being tried.
        (55, None, None, False),
        (55, 50, 58, False),
        (61, 50, 62, True),
    ):
        moments = {"asked_at": asked, "began_at": began, "checked_at": checked}
        ago = {name: s and now - timedelta(seconds=s) for name, s in moments.items()}
        rows.update(**ago)
        before = (len(put), AuditEvent.objects.count())
        with TestCase.captureOnCommitCallbacks(execute=True):
            probes.ask(admin, "backup")
        after = (len(put), AuditEvent.objects.count())
        assert after == (before[0] + again, before[1] + again), moments
        assert (rows.get().asked_at == ago["asked_at"]) is not again, moments


def test_a_run_that_began_before_the_question_does_not_answer_it(monkeypatch: Any) -> None:
    admin = actor(Role.ADMIN)

    def look(asker: int | None) -> Found:
        if not ProbeResult.objects.get().asked_at:
            probes.ask(admin, "backup")
            (line,) = [line for line in probes.lines() if line.probe.name == "backup"]
            assert line.state == "busy"
            if overtaken:
                probes.carry_out("backup")
            return Found(False, "of before")
        return Found(True, "of after")

    probe = dataclasses.replace(probes.find("backup"), look=look)
    monkeypatch.setitem(probes._probes, "backup", probe)
    for overtaken in (False, True):
        ProbeResult.objects.all().delete()
        probes.carry_out("backup")
        (line,) = [line for line in probes.lines() if line.probe.name == "backup"]
        if overtaken:
            assert (line.state, line.result.found) == ("good", "of after")
        else:
            assert (line.state, line.result.found) == ("busy", "")
            probes.carry_out("backup")
            assert ProbeResult.objects.get().found == "of after"


def test_a_probe_that_takes_too_long_is_told_to_stop_and_says_so(monkeypatch: Any) -> None:
    def look(asker: int | None) -> Found:
        raise SoftTimeLimitExceeded

    probe = dataclasses.replace(probes.find("backup"), look=look)
    monkeypatch.setitem(probes._probes, "backup", probe)
    assert (tasks.probe.soft_time_limit, tasks.probe.time_limit) == (45, 60)
    assert "took too long" in tried("backup").found


def test_what_is_not_good_is_tried_each_minute_what_is_each_hour_and_a_mail_never() -> None:
    all_good(timezone.now() - timedelta(minutes=59))
    rows = ProbeResult.objects.all()
    assert probes.publish_due() == 0
    rows.filter(name="backup").update(good=False)
    assert probes.publish_due() == 1
    rows.update(began_at=timezone.now() - timedelta(hours=25), good=True)
    # Neither the mail nor the first device.
    assert probes.publish_due() == len(probes.lines()) - 2
