"""Views of tables that people save under a name, for themselves or for everyone, and the columns
that they chose; `mdm/tables.py` shows a table as one of them says.

What someone keeps for themselves leaves no audit row; what everyone gets to see does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import QueryDict

from mdm.audit.actor import Actor
from mdm.audit.record import NotAllowed, allow, record
from mdm.models import NamedView

# The slugs of all tables there are; each adds its own.
tables: set[str] = set()

# Of one person, for one table and for all; and shared ones that are offered for a table.
_MOST = 50
_MOST_IN_ALL = 200
_OFFERED = 200
_LONGEST = 1_000
_PARTS = 40
# What belongs to one visit, and not to the view.
_NOT_KEPT = frozenset({"page", "view", "selection"})


class BadView(Exception):
    """What was given makes no view; the message says why."""


def seen(actor: Actor, table: str) -> list[NamedView]:
    """The views of a table that are offered to `actor`: their own, and those that are shared. In
    one statement; the one without a name is their choice of columns.
    """
    if actor.user_id is None:
        return []
    rows = NamedView.objects.filter(Q(owner=actor.user_id) | Q(shared=True), table=table)
    return list(rows.select_related("owner")[: _MOST + _OFFERED])


@transaction.atomic
def save(
    actor: Actor, table: str, name: str, *, query: str, hidden: Sequence[str], shared: bool
) -> NamedView:
    """Keep a view under this name; one that the person has under it already is replaced.

    Raises BadView and NotAllowed.
    """
    own = _own(actor, table)
    known = own.filter(name__iexact=_named(name)).first()
    if known is None and own.count() >= _MOST:
        raise BadView(f"You have {_MOST} views of this table. Delete one that you do not need.")
    if known is None and _own(actor).count() >= _MOST_IN_ALL:
        raise BadView(f"You have {_MOST_IN_ALL} views of tables. Delete one that you do not need.")
    return _write(
        actor,
        known or NamedView(owner_id=_person(actor), table=table),
        name=_named(name),
        query=_kept(query),
        hidden=_columns(hidden),
        shared=shared,
    )


@transaction.atomic
def change(
    actor: Actor, view: NamedView, name: str, *, query: str, hidden: Sequence[str], shared: bool
) -> NamedView:
    """Give one's own view another name, other filters and columns, or another audience.

    Raises BadView and NotAllowed.
    """
    if view.owner_id != actor.user_id:
        raise NotAllowed(
            "dashboard.open", f"{view} is {view.owner}'s view. Save it under a name of your own."
        )
    others = _own(actor, view.table).exclude(pk=view.pk)
    if others.filter(name__iexact=_named(name)).exists():
        raise BadView(f"You have another view named {_named(name)}.")
    return _write(
        actor,
        view,
        name=_named(name),
        query=_kept(query),
        hidden=_columns(hidden),
        shared=shared,
    )


@transaction.atomic
def delete(actor: Actor, view: NamedView) -> None:
    """Delete one's own view, or end that everyone is offered someone else's. Raises NotAllowed."""
    if view.owner_id == actor.user_id:
        if view.shared:
            _record(actor, "view.delete", view)
        view.delete()
        return
    allow(actor, "view.share")
    _write(actor, view, name=view.name, query=view.query, hidden=view.hidden, shared=False)


@transaction.atomic
def keep_columns(actor: Actor, table: str, hidden: Sequence[str], view: NamedView | None) -> None:
    """Leave these columns out: of one's own `view`, or of the table as such."""
    if view is None or view.owner_id != actor.user_id:
        view, _ = NamedView.objects.get_or_create(owner_id=_person(actor), table=table, name="")
    view.hidden = _columns(hidden)
    view.save(update_fields=["hidden"])


def _write(actor: Actor, view: NamedView, **wanted: Any) -> NamedView:
    """Sharing takes a right, ending it does not; what is shared is on record."""
    was_shared = view.shared
    for name, value in wanted.items():
        setattr(view, name, value)
    if view.shared:
        allow(actor, "view.share")
    view.save()
    if view.shared or was_shared:
        _record(actor, "view.share" if view.shared else "view.unshare", view)
    return view


def _record(actor: Actor, action: str, view: NamedView) -> None:
    after = {"table": view.table, "name": view.name, "query": view.query}
    record(actor, action, subject_kind="view", subject_id=view.pk, after=after)


def _own(actor: Actor, table: str = "") -> QuerySet[NamedView]:
    """What they saved under a name: for this table, or for all."""
    rows = NamedView.objects.filter(owner=_person(actor)).exclude(name="")
    return rows.filter(table=table) if table else rows


def _person(actor: Actor) -> int:
    if actor.user_id is None:
        raise NotAllowed("dashboard.open", "Views of tables are kept for people.")
    return actor.user_id


def _named(text: str) -> str:
    name = " ".join(text.replace("\0", "").split())
    if not name:
        raise BadView("Give the view a name.")
    if len(name) > 60:
        raise BadView("A name has at most 60 characters.")
    return name


def _kept(query: str) -> str:
    """The part of an address's query that makes a view, in an order of its own."""
    given = QueryDict(query[: 4 * _LONGEST].replace("\0", ""))
    kept = QueryDict(mutable=True)
    for key in sorted(given.keys() - _NOT_KEPT):
        if given[key]:
            kept[key] = given[key]
    encoded = kept.urlencode()
    if len(kept) > _PARTS or len(encoded) > _LONGEST:
        raise BadView("These filters are too long for a view. Shorten the search.")
    return encoded


def _columns(given: Sequence[str]) -> list[str]:
    return sorted({key[:40] for key in given})[:_PARTS]
