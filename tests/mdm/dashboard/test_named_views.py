"""Views that people save of tables: keeping, opening, changing, sharing, deleting them."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client

from mdm import named_views
from mdm.accounts.models import User
from mdm.accounts.rights import Role
from mdm.audit.models import AuditEvent
from mdm.models import NamedView
from tests.mdm.dashboard.conftest import Enroll
from tests.people import signed_in as client_of
from tests.people import someone

pytestmark = pytest.mark.django_db

FORM = {"path": "/devices/", "query": "platform=macOS&q=A&sort=-seen&page=3", "hidden": "os udid"}


def _save(client: Client, name: str, **form: str) -> str:
    return client.post("/views/devices/save", {**FORM, "name": name, **form})["Location"]


def _offered(client: Client, path: str = "/devices/") -> list[str]:
    page = client.get(path).content.decode()
    return re.findall(r'<li><a class="dropdown-item[^>]*><span class="break">([^<]+)', page)


def test_a_view_keeps_filters_order_and_columns(signed_in: Client, enroll: Enroll) -> None:
    enroll("A1", platform="macOS", os_version="15.1")
    enroll("A2", os_version="17.5")

    opened = _save(signed_in, " My  Macs ")
    view = NamedView.objects.get()
    page = signed_in.get(opened).content.decode()

    assert parse_qs(urlsplit(opened).query) == {
        "platform": ["macOS"],
        "q": ["A"],
        "sort": ["-seen"],
        "view": [str(view.pk)],
    }
    assert _offered(signed_in) == ["My Macs"]
    assert ("Select A1" in page, "Select A2" in page) == (True, False)
    # Its columns hold while it is open, and nowhere else.
    assert 'data-label="OS"' not in page
    assert 'data-label="OS"' in signed_in.get("/devices/").content.decode()
    # A view is of one table.
    assert _offered(signed_in, "/settings/audit/") == []


def test_saving_under_a_name_again_replaces_and_changing_renames(signed_in: Client) -> None:
    _save(signed_in, "Macs")
    _save(signed_in, "macs", query="platform=iOS")
    view = NamedView.objects.get()
    assert (view.name, view.query) == ("macs", "platform=iOS")

    _save(signed_in, "Other")
    changed = {**FORM, "name": "Phones", "query": "q=x", "hidden": ""}
    signed_in.post(f"/views/{view.pk}/change", changed)
    view.refresh_from_db()
    assert (view.name, view.query, view.hidden) == ("Phones", "q=x", [])
    refused = signed_in.post(f"/views/{view.pk}/change", {**FORM, "name": "OTHER"}, follow=True)
    assert "You have another view named OTHER" in refused.content.decode()


@pytest.mark.parametrize(
    ("form", "why"),
    [
        ({"name": "  "}, "Give the view a name"),
        ({"name": "x" * 61}, "at most 60 characters"),
        ({"name": "x", "query": "q=" + "x" * 1_000}, "too long for a view"),
        ({"name": "x", "query": "&".join(f"k{n}=1" for n in range(41))}, "too long for a view"),
    ],
)
def test_what_makes_no_view_is_refused_with_the_reason(
    signed_in: Client, form: dict[str, str], why: str
) -> None:
    page = signed_in.post("/views/devices/save", {**FORM, **form}, follow=True)

    assert why in page.content.decode()
    assert not NamedView.objects.exists()


@pytest.mark.parametrize("bound", ["_MOST", "_MOST_IN_ALL"])
def test_a_person_has_so_many_views_and_no_more(
    signed_in: Client, admin: User, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(named_views, bound, 1)
    _save(signed_in, "One")

    page = signed_in.post("/views/devices/save", {**FORM, "name": "Two"}, follow=True)

    assert "Delete one that you do not need" in page.content.decode()
    assert _save(signed_in, "one", query="q=z").startswith("/devices/?q=z")


@pytest.mark.parametrize("slug", ["nothing", "x" * 51])
def test_a_table_that_is_not_there_has_no_views(signed_in: Client, slug: str) -> None:
    for path in (f"/views/{slug}/save", f"/columns/{slug}"):
        assert signed_in.post(path, {**FORM, "name": "x"}).status_code == 404

    assert not NamedView.objects.exists()


def test_sharing_takes_the_right_and_is_on_record(signed_in: Client, admin: User) -> None:
    viewer = client_of(someone(Role.VIEWER))
    _save(signed_in, "Everyone's", shared="yes")
    _save(signed_in, "Mine")
    shared, own = NamedView.objects.order_by("pk")

    assert _offered(viewer) == ["Everyone&#x27;s"]
    asked = {**FORM, "name": "x", "shared": "yes"}
    assert viewer.post("/views/devices/save", asked).status_code == 403
    assert viewer.post(f"/views/{shared.pk}/change", {**FORM, "name": "x"}).status_code == 403
    assert viewer.post(f"/views/{shared.pk}/delete", FORM).status_code == 403
    for path in (f"/views/{own.pk}/change", f"/views/{own.pk}/delete"):
        assert viewer.post(path, {**FORM, "name": "x"}).status_code == 404
    # Who may share takes someone else's from the others, and leaves it to its owner.
    client_of(someone(Role.OPERATOR)).post(f"/views/{shared.pk}/delete", FORM)
    assert _offered(viewer) == []
    assert _offered(signed_in) == ["Everyone&#x27;s", "Mine"]
    acts = AuditEvent.objects.order_by("pk").values_list("action", "actor_name")
    assert list(acts) == [("view.share", "Ada"), ("view.unshare", "Operator")]


def test_a_deleted_view_comes_back_to_its_owner_alone(signed_in: Client, admin: User) -> None:
    _save(signed_in, "Macs")
    before = NamedView.objects.values("table", "name", "query", "hidden", "shared").get()
    page = signed_in.post(f"/views/{NamedView.objects.get().pk}/delete", FORM, follow=True)
    kept = re.search(r'name="view" value="([^"]+)"', page.content.decode())
    assert kept
    assert not NamedView.objects.exists()
    form = {"view": kept[1], "path": "/devices/"}

    client_of(someone(Role.VIEWER)).post("/views/restore", form)
    signed_in.post("/views/restore", {**form, "view": kept[1][:-1]})
    assert not NamedView.objects.exists()
    signed_in.post("/views/restore", form)

    assert NamedView.objects.values("table", "name", "query", "hidden", "shared").get() == before


def test_columns_are_a_persons_or_their_open_views(signed_in: Client, admin: User) -> None:
    someone_else = client_of(someone(Role.VIEWER))
    _save(signed_in, "Macs", shared="yes")
    view = NamedView.objects.get()
    chosen = {"known": "os seen udid", "show": ["udid"], "next": "/devices/"}

    longest = "9" * 5_000
    for client, number in ((signed_in, ""), (signed_in, longest), (someone_else, str(view.pk))):
        client.post("/columns/devices", {**chosen, "view": number})
    signed_in.post("/columns/devices", {"known": "os", "show": [], "view": str(view.pk)})

    owners = NamedView.objects.filter(name="").values_list("owner__username", "hidden")
    assert sorted(owners) == [("ada", ["os", "seen"]), ("viewer", ["os", "seen"])]
    view.refresh_from_db()
    assert view.hidden == ["os"]
