"""The rounds over the audit log's chain: in steps, following what is new, and over everything again
a week later; what they find is on the pages until a whole round finds nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from mdm.accounts.rights import Role
from mdm.audit import seal
from mdm.audit.models import AuditEvent, ChainKey
from mdm.health import chain, readings
from mdm.health.models import Reading
from tests.mdm.test_audit_chain import tampering, write
from tests.people import signed_in, someone

pytestmark = pytest.mark.django_db

Data = dict[str, object]


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Data]:
    """The worker comes by, an hour or a week later, and checks the next three rows."""
    monkeypatch.setattr(chain, "ROWS", 3)

    def come_by(*, week: bool = False) -> Data:
        seal.seal()
        for reading in Reading.objects.filter(name=chain.NAME):
            if week:
                reading.data["began"] = (timezone.now() - chain.WHOLE_AGAIN).isoformat()
            reading.at -= timedelta(hours=1)
            reading.save()
        readings.take_due()
        return Reading.objects.get(name=chain.NAME).data

    return come_by


def _word() -> str:
    (thing,) = chain.thing()
    return thing.word


def _change(number: int, **columns: object) -> None:
    with tampering():
        AuditEvent.objects.filter(sealed_as=number).update(**columns)


def test_a_round_goes_in_steps_and_then_follows_what_is_new(step: Callable[..., Data]) -> None:
    assert _word() == "Not checked yet"
    write(7)

    places = [str(step()["place"]).partition(":")[0] for _ in range(4)]
    assert places == ["3", "6", "7", "7"]
    assert _word() == "Unbroken"

    write(2)
    assert str(step()["place"]).startswith("9:")
    _change(8, action="x")
    # It was checked already, and is again a week later.
    assert (step(), _word())[1] == "Unbroken"
    assert [str(step(week=week)["place"])[:2] for week in (True, False)] == ["3:", "6:"]
    step()
    assert _word() == "Broken"


def test_what_is_found_is_told_until_a_whole_round_finds_nothing(
    step: Callable[..., Data],
) -> None:
    write(4)
    was = AuditEvent.objects.earliest("pk").action
    seal.seal()
    _change(1, action="x")
    client = signed_in(someone(Role.ADMIN))

    step()
    for page in ("/", "/settings/health/", "/settings/audit/"):
        assert "is not what was sealed" in client.get(page).text, page
    things = {thing["name"]: thing for thing in client.get("/api/v1/health/").json()["things"]}
    assert things["Audit log's chain"]["state"] == "bad"

    # Put back, which a round has to see that goes over all of it.
    _change(1, action=was)
    assert [(step(), _word())[1] for _ in range(2)] == ["Broken", "Broken"]
    assert (step(week=True), _word())[1] == "Broken"
    assert (step(), _word())[1] == "Unbroken"
    assert "Audit log: its chain" not in client.get("/").text


def test_an_end_that_is_cut_off_is_found_within_the_hour_and_told_once(
    step: Callable[..., Data],
) -> None:
    write(5)
    step(), step()
    with tampering():
        AuditEvent.objects.filter(sealed_as__gt=2).delete()
    for _ in range(2):
        assert step()["found"] == {
            "count": 1,
            "breaks": [[5, None, "is missing: the end of the chain was cut off"]],
        }

    with pytest.raises(CommandError, match="broken"):
        call_command("audit", "verify", stdout=StringIO())
    assert _word() == "Broken"
    # Whoever trusts the end as it is now says so, by its head.
    call_command("audit", "verify", "--head", str(seal.head()), stdout=StringIO())
    assert _word() == "Unbroken"


def test_a_chain_made_anew_from_some_place_on_is_found_and_never_forgotten(
    step: Callable[..., Data],
) -> None:
    write(3)
    step(), step()
    before = str(seal.head())
    _change(2, action="x", sealed_as=None, sealed_hash=None)
    _change(3, sealed_as=None, sealed_hash=None)
    seal.seal()
    early = str(seal.Head(1, bytes(AuditEvent.objects.get(sealed_as=1).sealed_hash or b"")))
    assert (step(), _word())[1] == "Broken"

    # What is new fits. Neither the next rounds nor who looks again, or has an old head, end it.
    write(2)
    assert [(step(week=week), _word())[1] for week in (False, True, False)] == ["Broken"] * 3
    for given in ((), (), ("--head", early), ("--head", before)):
        with pytest.raises(CommandError, match="broken"):
            call_command("audit", "verify", *given, stdout=StringIO())
        assert _word() == "Broken"
    call_command("audit", "verify", "--head", str(seal.head()), stdout=StringIO())
    assert _word() == "Unbroken"


def test_an_end_that_is_cut_off_is_found_while_a_round_is_far_from_it(
    step: Callable[..., Data],
) -> None:
    write(9)
    assert [step()["ended"] for _ in range(4)] == [False, False, False, True]
    step(week=True)
    with tampering():
        AuditEvent.objects.filter(sealed_as=9).delete()

    assert (step()["ended"], _word()) == (False, "Broken")


def test_a_row_that_is_put_in_where_a_step_begins_is_found(step: Callable[..., Data]) -> None:
    write(5)
    step()
    write()
    with tampering():
        AuditEvent.objects.filter(sealed_as=None).update(sealed_as=3, sealed_hash=bytes(32))

    assert (step(), _word())[1] == "Broken"


def test_without_its_key_the_chain_is_not_checked_and_pages_say_so(
    step: Callable[..., Data],
) -> None:
    write(2)
    step()
    key = ChainKey.objects.get()
    ChainKey.objects.all().delete()

    step(week=True)
    assert _word() == "Not checked"
    key.save(force_insert=True)
    assert (step(), _word())[1] == "Unbroken"


def test_nobody_checking_is_told_too(step: Callable[..., Data]) -> None:
    write()
    step()
    Reading.objects.filter(name=chain.NAME).update(at=timezone.now() - timedelta(days=2))

    assert _word() == "Not checked"
