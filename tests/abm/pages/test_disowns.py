"""Disowning in the dashboard and the API: chosen, confirmed, watched, stopped, and on record."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from abm import disowns
from abm.models import Disown, DisownDevice, Server
from mdm.accounts.models import User
from mdm.accounts.rights import Role
from mdm.audit.actor import Actor
from tests.abm.pages.conftest import Connect, Listed
from tests.mdm.api.conftest import api, bearer, token
from tests.mdm.dashboard.conftest import Enroll
from tests.people import someone

__all__ = ["api", "bearer", "token"]

pytestmark = pytest.mark.django_db

CHOOSE = "/abm/devices/disowns/choose"
State = DisownDevice.State


@pytest.fixture(autouse=True)
def published(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    called: list[int] = []
    monkeypatch.setattr(disowns, "publish", called.append)
    return called


@pytest.fixture
def chosen(signed_in: Client) -> Callable[..., str]:
    """Chooses devices and returns where their confirmation is."""

    def choose(*pks: int) -> str:
        answer = signed_in.post(CHOOSE, {"ids": ",".join(map(str, pks))})
        assert answer.status_code == 302
        return str(answer["Location"])

    return choose


def told(answer: object) -> str:
    return " ".join(str(each) for each in answer.context["messages"])  # type: ignore[attr-defined]


def test_what_is_to_be_disowned_is_named_before(
    signed_in: Client,
    connect: Connect,
    listed: Listed,
    enroll: Enroll,
    chosen: Callable[..., str],
) -> None:
    school, office = connect("School"), connect("Office")
    enroll("S1")
    pks = [listed("S1", school).pk, listed("S2", school).pk, listed("O1", office).pk]

    page = signed_in.get(chosen(*pks))

    text = " ".join(page.text.split())
    assert "<h1" in text
    assert "Disown 3 devices" in text
    assert '<strong class="nums">2</strong> devices of School' in text
    assert '<strong class="nums">1</strong> device of Office' in text
    assert '<strong class="nums">1</strong> is enrolled here' in text
    assert "Nobody can undo this." in text
    assert all(f"<li>{serial}</li>" in text for serial in ("O1", "S1", "S2"))
    assert not Disown.objects.exists()


def test_nothing_is_disowned_until_the_number_is_typed(
    signed_in: Client,
    server: Server,
    listed: Listed,
    chosen: Callable[..., str],
    published: list[int],
    django_capture_on_commit_callbacks: Callable[..., object],
) -> None:
    where = chosen(listed("S1", server).pk, listed("S2", server).pk)
    for typed in ("", "3", "yes", "S1"):
        answer = signed_in.post(where, {"confirmation": typed})
        assert answer.status_code == 422
        assert "Nothing was disowned. Type 2 to confirm." in answer.text
    assert not Disown.objects.exists()

    with django_capture_on_commit_callbacks(execute=True):
        answer = signed_in.post(where, {"confirmation": " 2 "})
    disown = Disown.objects.get()
    assert answer["Location"] == f"/abm/devices/disowns/{disown.pk}/"
    assert set(disown.devices.values_list("serial_number", flat=True)) == {"S1", "S2"}
    assert published == [server.pk]

    again = signed_in.post(where, {"confirmation": "2"})
    assert again.status_code == 422
    assert "being disowned already" in again.text


def test_for_one_device_its_serial_number_is_typed(
    signed_in: Client, server: Server, listed: Listed
) -> None:
    row = listed("C02ONE", server)
    panel = signed_in.get(f"/devices/{row.device_id}/abm/")
    assert f'action="{CHOOSE}"' in panel.text
    where = signed_in.post(CHOOSE, {"id": row.pk})["Location"]
    assert "Type <strong" in signed_in.get(where).text
    assert signed_in.post(where, {"confirmation": "1"}).status_code == 422
    assert signed_in.post(where, {"confirmation": "c02one"}).status_code == 302
    assert DisownDevice.objects.get().serial_number == "C02ONE"


def test_a_device_that_left_has_no_button(
    signed_in: Client, server: Server, listed: Listed
) -> None:
    row = listed("GONE", server, removed_at=timezone.now(), current=False)
    assert CHOOSE not in signed_in.get(f"/devices/{row.device_id}/abm/").text
    answer = signed_in.post(CHOOSE, {"id": row.pk}, follow=True)
    assert told(answer) == "None of the chosen devices is in Apple Business Manager now."


def test_what_changed_since_the_choice_is_said(
    signed_in: Client, server: Server, listed: Listed, chosen: Callable[..., str]
) -> None:
    first, second = listed("S1", server), listed("S2", server)
    where = chosen(first.pk, second.pk)
    first.removed_at = timezone.now()
    first.save()
    answer = signed_in.post(where, {"confirmation": "2"})
    assert "1 of these devices has left the list" in answer.text
    assert not Disown.objects.exists()


def test_a_choice_that_is_too_old_goes_back_to_the_list(signed_in: Client) -> None:
    answer = signed_in.get("/abm/devices/disowns/new/?of=nothing", follow=True)
    assert answer.redirect_chain == [("/abm/devices/", 302)]
    assert "too old" in told(answer)


@pytest.fixture
def disown(admin: User, server: Server, listed: Listed) -> Disown:
    rows = [listed(f"S{number}", server).pk for number in range(5)]
    return disowns.ask(Actor.person(admin), rows)


def settle(disown: Disown, *states: str) -> None:
    for row, state in zip(disown.devices.order_by("serial_number"), states, strict=False):
        sentence = "" if state == State.DISOWNED else f"Because: {state}."
        row.state, row.sentence = state, sentence
        row.save()


def test_the_progress_counts_and_says_why(signed_in: Client, disown: Disown) -> None:
    settle(disown, State.DISOWNED, State.REFUSED, State.UNCLEAR, State.NOT_OURS)
    page = signed_in.get(f"/abm/devices/disowns/{disown.pk}/")
    text = " ".join(page.text.split())
    assert "Disown 5 devices" in text
    assert 'aria-label="1 Disowned, 1 Not ours, 1 Refused, 1 Unclear, 1 Waiting"' in text
    assert "Because: Refused." in text
    assert "hx-get" in text.split('id="disown-progress"')[1][:300]

    narrowed = signed_in.get(f"/abm/devices/disowns/{disown.pk}/?state=Refused&q=s1")
    assert "Because: Refused." in narrowed.text
    assert "Because: Unclear." not in narrowed.text


def test_who_watches_hears_only_what_is_new(signed_in: Client, disown: Disown) -> None:
    url = f"/abm/devices/disowns/{disown.pk}/"
    headers = {"HX-Request": "true", "HX-Target": "disown-progress"}
    mark = signed_in.get(url).context["mark"]
    assert signed_in.get(url, {"mark": mark}, headers=headers).status_code == 204
    settle(disown, *[State.DISOWNED] * 5)
    answer = signed_in.get(url, {"mark": mark}, headers=headers)
    assert answer["HX-Trigger"] == '{"table-outdated": "abm-disown-devices"}'
    assert "hx-get" not in answer.text
    assert "Outcome" in answer.text
    assert ">Stop<" not in answer.text


def test_what_it_waits_for_is_said(signed_in: Client, disown: Disown, server: Server) -> None:
    url = f"/abm/devices/disowns/{disown.pk}/"
    assert "No worker" not in signed_in.get(url).text
    Disown.objects.update(asked_at=timezone.now() - timedelta(minutes=1))
    assert "No worker has taken those of Schools yet" in signed_in.get(url).text
    server.retry_at = timezone.now() + timedelta(minutes=10)
    server.save()
    assert "Apple asked for a pause" in signed_in.get(url).text


def test_it_can_be_stopped(signed_in: Client, disown: Disown) -> None:
    settle(disown, State.DISOWNED, State.ASKED)
    answer = signed_in.post(f"/abm/devices/disowns/{disown.pk}/stop", follow=True)
    assert told(answer) == "Stopped: Apple was not asked about 3."
    assert disowns.counts(disown) == {State.DISOWNED: 1, State.ASKED: 1, State.NOT_ASKED: 3}
    answer = signed_in.post(f"/abm/devices/disowns/{disown.pk}/stop", follow=True)
    assert told(answer) == "Apple was asked about all of them already."


def test_every_time_is_listed_and_found_by_serial_number(
    signed_in: Client, disown: Disown, admin: User
) -> None:
    settle(disown, State.DISOWNED)
    page = signed_in.get("/abm/devices/disowns/?q=s4")
    assert f"/abm/devices/disowns/{disown.pk}/" in page.text
    assert str(admin) in page.text
    assert (
        f"/abm/devices/disowns/{disown.pk}/"
        not in signed_in.get("/abm/devices/disowns/?q=none").text
    )


def test_nobody_without_a_session_gets_in(client: Client, disown: Disown) -> None:
    someone(Role.ADMIN)

    for path in (
        "/abm/devices/disowns/",
        f"/abm/devices/disowns/{disown.pk}/",
        "/abm/devices/disowns/new/",
    ):
        assert client.get(path)["Location"].startswith("/accounts/login/")
    for path in (CHOOSE, f"/abm/devices/disowns/{disown.pk}/stop", "/abm/devices/disowns/new/"):
        assert client.post(path).status_code in {302, 403}
    assert disowns.counts(disown) == {State.WAITING: 5}


# --- The API -------------------------------------------------------------------------------------


def test_the_api_asks_for_the_number_too(api: APIClient, server: Server, listed: Listed) -> None:
    listed("S1", server)
    listed("S2", server)
    url = "/api/v1/abm-disowns/"
    wanted = {"serial_numbers": ["S1", "S2", "S1"]}
    assert api.post(url, wanted, format="json").status_code == 400
    refused = api.post(url, {**wanted, "confirmation": 3}, format="json")
    assert "These are 2 serial numbers. Nothing was disowned." in refused.text
    unknown = {"serial_numbers": ["S1", "X"], "confirmation": 2}
    assert "1 of them are not in" in api.post(url, unknown, format="json").text
    assert not Disown.objects.exists()

    made = api.post(url, {**wanted, "confirmation": 2}, format="json")
    assert made.status_code == 202
    assert made.json()["counts"] == {"Waiting": 2}
    assert api.post(url, {**wanted, "confirmation": 2}, format="json").status_code == 409


def test_the_api_tells_what_became_of_it(api: APIClient, disown: Disown) -> None:
    settle(disown, State.DISOWNED, State.REFUSED)
    one = f"/api/v1/abm-disowns/{disown.pk}/"
    assert api.get(one).json()["counts"] == {"Disowned": 1, "Refused": 1, "Waiting": 3}
    assert [each["id"] for each in api.get("/api/v1/abm-disowns/").json()["results"]] == [disown.pk]
    rows = api.get(f"/api/v1/abm-disown-devices/?disown={disown.pk}&state=Refused").json()[
        "results"
    ]
    assert [(row["serial_number"], row["sentence"]) for row in rows] == [
        ("S1", "Because: Refused.")
    ]
    stopped = api.post(f"{one}stop/").json()
    assert stopped["counts"] == {"Disowned": 1, "Refused": 1, "Not asked": 3}
