"""The table pattern: server-side search, filters, sort and paging described once per table.

A page makes a `Table`, asks it for a `View` of the request and renders `mdm/table.html`.
Exports stand in `mdm/csv_export.py`, views that people saved in `mdm/named_views.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import urlencode

from django.db.models import F, QuerySet
from django.http import HttpRequest, QueryDict
from django.utils.html import format_html
from django.utils.safestring import SafeString

from mdm import named_views, navigation
from mdm.audit.actor import Actor
from mdm.models import NamedView

PAGE_SIZE = 50
# Counting stops here: beyond it "more than 100,000" says as much, and costs no more.
COUNT_CAP = 100_000
# A page counts up to here before it answers; the rest is counted while people read it.
COUNT_FIRST = 10_000

Choices = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column. `template` draws the cell (as `row`), else `value(row)` is shown as text.

    `sort` names the fields that order by it; `value` also fills the CSV. `optional` columns can
    be hidden, `extra` ones are until someone wants to see them.
    """

    key: str
    label: str
    value: Callable[[Any], object]
    template: str = ""
    sort: tuple[str, ...] = ()
    css: str = ""
    optional: bool = False
    extra: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """One chip: `choices()` are offered, `apply` narrows the rows to what was chosen; what is shown
    while nothing is chosen is called `otherwise`. A "text" or a "date" is typed in, and a "hidden"
    one comes from a link of another page; they have no choices. It is for those who have its
    `right`: nothing is found by anyone else.
    """

    key: str
    label: str
    apply: Callable[[QuerySet[Any], str], QuerySet[Any]]
    choices: Callable[[], Choices] | None = None
    otherwise: str = "any"
    kind: Literal["select", "text", "date", "hidden"] = "select"
    right: str = ""


_added: dict[str, list[Filter]] = {}


def add_filters(slug: str, *filters: Filter) -> None:
    """Filters of an upper app for a table of a lower one; called when the app loads."""
    there = _added.setdefault(slug, [])
    there += [each for each in filters if all(each.key != known.key for known in there)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """`search(rows, text)` makes the search field appear, `selectable` the check boxes.
    `more_exports` are labels and addresses beside the CSV's.
    """

    slug: str
    label: str
    one: str
    many: str
    columns: tuple[Column, ...]
    filters: tuple[Filter, ...] = ()
    search: Callable[[QuerySet[Any], str], QuerySet[Any]] | None = None
    search_hint: str = "Search"
    order: tuple[str, ...] = ("-id",)
    selectable: bool = False
    bulk_place: str = ""
    export_url: str = ""
    more_exports: tuple[tuple[str, str], ...] = ()
    page_size: int = PAGE_SIZE
    empty: str = "mdm/table/empty.html"
    # Keys of filters that are not for whoever looks.
    withheld: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        named_views.tables.add(self.slug)

    def for_actor(self, actor: Actor) -> Table:
        """The table with all filters that are for this actor, other apps' among them."""
        everything = {each.key: each for each in (*self.filters, *_added.get(self.slug, ()))}
        offered = tuple(f for f in everything.values() if not f.right or f.right in actor)
        withheld = everything.keys() - {each.key for each in offered} | self.withheld
        return replace(self, filters=offered, withheld=frozenset(withheld))

    @property
    def extra(self) -> list[str]:
        return [column.key for column in self.columns if column.extra]

    @property
    def keys(self) -> set[str]:
        """The names in a query that say which rows are meant."""
        return {"q", *(chip.key for chip in self.filters)}

    def narrow(self, rows: QuerySet[Any], query: QueryDict) -> QuerySet[Any]:
        """The rows that the search and the filters in `query` leave, in its order."""
        if any(query.get(key) for key in self.withheld):
            return rows.none()
        text = query.get("q", "")
        if self.search and text:
            rows = self.search(rows, text)
        for chip in self.filters:
            value = query.get(chip.key, "")
            if value:
                rows = chip.apply(rows, value.replace("\0", ""))
        return rows

    def sort(self, rows: QuerySet[Any], query: QueryDict) -> QuerySet[Any]:
        column, descending = self.sorted_by(query)
        if column is None:
            return rows.order_by(*self.order)
        by = [
            F(name).desc(nulls_last=True) if descending else F(name).asc(nulls_last=True)
            for name in column.sort
        ]
        return rows.order_by(*by, *self.order)

    def sorted_by(self, query: QueryDict) -> tuple[Column | None, bool]:
        asked = query.get("sort", "")
        for column in self.columns:
            if column.sort and column.key == asked.removeprefix("-"):
                return column, asked.startswith("-")
        return None, False

    def view(self, request: HttpRequest, rows: QuerySet[Any], cap: int = COUNT_CAP) -> View:
        """One page of `rows` as the request's query asks for it; counted up to `cap`."""
        query = request.GET
        actor = Actor.of(request)
        table = self.for_actor(actor)
        narrowed = table.narrow(rows, query)
        everything = narrowed.order_by().values("pk")
        asked = _whole(query.get("page", ""), 1, 1 + cap // self.page_size)
        # Whoever is far down has been shown that there is more.
        counted = cap if asked * self.page_size >= COUNT_FIRST else min(cap, COUNT_FIRST)
        count = everything[: counted + 1].count()
        pages = max(1, -(-min(count, counted) // self.page_size))
        page = min(asked, pages)
        start = (page - 1) * self.page_size
        views = [each for each in named_views.seen(actor, self.slug) if table.may_show(each)]
        view = next(
            (each for each in views if each.name and str(each.pk) == query.get("view")), None
        )
        plain = next((each for each in views if not each.name), None)
        chosen = view or plain
        return View(
            table=table,
            query=query,
            path=request.path,
            rows=self._page(rows, narrowed, query, start) if count else [],
            everything=everything,
            count=count,
            counted=counted,
            cap=cap,
            page=page,
            pages=pages,
            hidden=frozenset(chosen.hidden if chosen else self.extra),
            views=[each for each in views if each.name],
            opened=view,
            person=actor.user_id,
            selectable=self.selectable and _has_acts(request, self.bulk_place),
        )

    def may_show(self, view: NamedView) -> bool:
        """Whether a view has no filter that is not for whoever looks."""
        return not self.withheld.intersection(QueryDict(view.query))

    def _page(
        self, rows: QuerySet[Any], narrowed: QuerySet[Any], query: QueryDict, start: int
    ) -> list[Any]:
        """The rows from `start` on: found by their ids alone, so that only what is shown is read
        whole however deep it lies."""
        ordered = self.sort(narrowed, query).values_list("pk", flat=True)
        ids = list(ordered[start:][: self.page_size])
        found = rows.order_by().in_bulk(ids)
        return [found[pk] for pk in ids if pk in found]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """A filter as the template draws it."""

    key: str
    label: str
    value: str
    word: str
    choices: Choices
    without: str
    otherwise: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedView:
    """A named view as the template draws it; `by` is empty for one's own."""

    name: str
    url: str
    by: str
    shared: bool
    opened: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A column's header: where a click on it leads and how the rows are sorted by it now."""

    column: Column
    url: str
    direction: str


@dataclass(slots=True, kw_only=True)
class View:
    """One page of a table: everything that `mdm/table.html` draws."""

    table: Table
    query: QueryDict
    path: str
    rows: list[Any]
    # Counted up to `counted`, where counting may go up to `cap`.
    everything: QuerySet[Any]
    count: int
    counted: int
    cap: int
    page: int
    pages: int
    hidden: frozenset[str] = frozenset()
    # Whether the person can do anything with rows that they tick.
    selectable: bool = False
    # The saved views of the table, the one that is open, and who looks.
    views: Sequence[NamedView] = ()
    opened: NamedView | None = None
    person: int | None = None
    chips: list[Chip] = field(init=False)
    # Each column with how its cells begin.
    cells: list[tuple[Column, SafeString]] = field(init=False)

    def __post_init__(self) -> None:
        self.chips = [self._chip(chip) for chip in self.table.filters]
        start = '<td class="{}" data-label="{}">'
        self.cells = [(each, format_html(start, each.css, each.label)) for each in self.columns]

    @property
    def columns(self) -> list[Column]:
        return [c for c in self.table.columns if not (c.optional and c.key in self.hidden)]

    @property
    def optional_columns(self) -> list[tuple[Column, bool]]:
        return [(c, c.key not in self.hidden) for c in self.table.columns if c.optional]

    @property
    def saved(self) -> list[SavedView]:
        return [
            SavedView(
                name=each.name,
                url=f"{self.path}?{each.query}&view={each.pk}".replace("?&", "?"),
                by="" if each.owner_id == self.person else str(each.owner),
                shared=each.shared,
                opened=each == self.opened,
            )
            for each in self.views
        ]

    @property
    def own(self) -> NamedView | None:
        """The view that is open, where whoever looks may change it."""
        return self.opened if self.opened and self.opened.owner_id == self.person else None

    @property
    def keepable(self) -> bool:
        """Whether there is anything about this table to save as a view."""
        return bool(self.chips) or self.searchable

    @property
    def view_query(self) -> str:
        """What a view keeps of the query."""
        order = urlencode({"sort": self.sort}) if self.sort else ""
        return "&".join(filter(None, (self.filter_query, order)))

    @property
    def heads(self) -> list[Head]:
        now, descending = self.table.sorted_by(self.query)
        heads = []
        for column in self.columns:
            own = now is not None and now.key == column.key
            direction = ("descending" if descending else "ascending") if own else ""
            turned = column.key if direction != "ascending" else f"-{column.key}"
            url = self._url(sort=turned, page="") if column.sort else ""
            heads.append(Head(column=column, url=url, direction=direction))
        return heads

    @property
    def searchable(self) -> bool:
        return self.table.search is not None

    @property
    def text(self) -> str:
        return self.query.get("q", "") if self.table.search else ""

    @property
    def sort(self) -> str:
        return self.query.get("sort", "")

    @property
    def narrowed(self) -> bool:
        return bool(self.text) or any(chip.value for chip in self.chips)

    @property
    def active(self) -> list[Chip]:
        return [chip for chip in self.chips if chip.value]

    @property
    def capped(self) -> bool:
        return self.count > self.counted

    @property
    def unfinished(self) -> bool:
        """Whether there is more to count."""
        return self.capped and self.counted < self.cap

    def count_all(self) -> None:
        """Count what is left to count."""
        self.counted = self.cap
        self.count = self.everything[: self.cap + 1].count()

    @property
    def count_words(self) -> str:
        if self.capped:
            return f"more than {self.counted:,}"
        return f"{self.count:,}"

    @property
    def here(self) -> str:
        """The address of this page of the table."""
        return self._url()

    @property
    def noun(self) -> str:
        return self.table.one if self.count == 1 else self.table.many

    @property
    def first(self) -> int:
        return (self.page - 1) * self.table.page_size + 1 if self.rows else 0

    @property
    def last(self) -> int:
        return self.first + len(self.rows) - 1 if self.rows else 0

    @property
    def previous_url(self) -> str:
        return self._url(page=str(self.page - 1)) if self.page > 1 else ""

    @property
    def next_url(self) -> str:
        return self._url(page=str(self.page + 1)) if self.page < self.pages else ""

    @property
    def exports(self) -> list[tuple[str, str]]:
        """Labels and addresses of the files that hold what the filters leave."""
        first = [("CSV", self.table.export_url)] if self.table.export_url else []
        return [
            (label, f"{url}?{self.filter_query}")
            for label, url in (*first, *self.table.more_exports)
        ]

    @property
    def cleared_url(self) -> str:
        return f"{self.path}?{urlencode({'sort': self.sort})}" if self.sort else self.path

    @property
    def filter_query(self) -> str:
        """The part of the query that says which rows are meant, for exports and selections."""
        kept = QueryDict(mutable=True)
        for key in sorted(self.table.keys):
            if self.query.get(key):
                kept[key] = self.query.get(key, "")
        return kept.urlencode()

    def _chip(self, chip: Filter) -> Chip:
        choices = list(chip.choices()) if chip.choices else []
        value = self.query.get(chip.key, "")
        word = dict(choices).get(value, value)
        return Chip(
            key=chip.key,
            label=chip.label,
            value=value,
            word=word,
            choices=choices,
            otherwise=chip.otherwise,
            kind=chip.kind,
            without=self._url(**{chip.key: "", "page": ""}),
        )

    def _url(self, **changes: str) -> str:
        query = QueryDict(mutable=True)
        for key, values in self.query.lists():
            query.setlist(key, [value for value in values if value])
        for key, value in changes.items():
            query.pop(key, None)
            if value:
                query[key] = value
        encoded = query.urlencode()
        return f"{self.path}?{encoded}" if encoded else self.path


def _has_acts(request: HttpRequest, place: str) -> bool:
    may = Actor.of(request)
    return any(part.right in may for part in navigation.parts(place))


def _whole(text: str, low: int, high: int) -> int:
    """`text` as a number between the two; the low one where it is none."""
    return (
        max(low, min(high, int(text)))
        if text.isascii() and text.isdigit() and len(text) < 9
        else low
    )
