"""What we hold equals what Apple lists, whatever the feed leaves out, repeats or brings late."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from abm import decisions
from abm.decisions import Decision, Held, Outcome
from abm.wire.records import DeviceRecord

SERIALS = ("A1", "B2", "C3")
COLORS = ("", "SILVER", "BLACK")
BEGIN = datetime(2026, 1, 5, 9, tzinfo=UTC)


def at(seconds: int) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def record(serial="A1", op="", date: int | None = None, color="SILVER", **more) -> DeviceRecord:
    when = None if date is None else at(date)
    return DeviceRecord(serial_number=serial, color=color, op_type=op, op_date=when, **more)


def listed(*records: DeviceRecord, as_of: int = 0) -> dict[str, Held]:
    return dict(decisions.from_list(records, {}, at(as_of)).held)


def decided(outcome: Outcome) -> list[Decision]:
    return [entry.decision for entry in outcome.entries]


def test_the_newest_operation_of_a_page_counts_and_the_others_are_set_aside():
    operations = [
        record(op="modified", date=30, color="BLACK"),
        record(op="added", date=20),
        record(op="deleted", date=10),
    ]

    outcome = decisions.from_feed(operations, {}, None)

    assert outcome.held["A1"].listed
    assert outcome.held["A1"].facts["color"] == "BLACK"
    assert decided(outcome) == [Decision.SUPERSEDED, Decision.SUPERSEDED, Decision.ADDED]


def test_modified_alone_makes_a_device_appear():
    outcome = decisions.from_feed([record(op="modified", date=5)], {}, None)

    assert decided(outcome) == [Decision.ADDED]


def test_an_operation_older_than_one_that_was_applied_is_stale():
    held = dict(decisions.from_feed([record(op="added", date=20)], {}, None).held)

    outcome = decisions.from_feed([record(op="deleted", date=10)], held, None)

    assert decided(outcome) == [Decision.STALE]
    assert not outcome.held


def test_an_operation_older_than_the_list_that_contradicts_it_is_a_question():
    held = listed(record(), as_of=50)

    outcome = decisions.from_feed([record(op="deleted", date=10)], held, at(50))

    assert list(outcome.doubts) == ["A1"]
    assert decided(outcome) == [Decision.ASKED]


def test_an_old_addition_of_a_device_that_the_list_did_not_contain_is_a_question():
    outcome = decisions.from_feed([record(op="added", date=10)], {}, at(50))

    assert list(outcome.doubts) == ["A1"]


def test_two_operations_of_one_second_that_differ_are_a_question():
    operations = [record(op="added", date=10), record(op="deleted", date=10)]

    assert list(decisions.from_feed(operations, {}, None).doubts) == ["A1"]


def test_operations_without_a_date_or_of_an_unknown_kind_are_questions():
    for odd in (record(op="added"), record(op="migrated", date=10)):
        assert list(decisions.from_feed([odd], {}, None).doubts) == ["A1"]


def test_the_same_operation_again_changes_nothing():
    first = decisions.from_feed([record(op="added", date=10)], {}, None)

    again = decisions.from_feed([record(op="added", date=10)] * 2, first.held, None)

    assert decided(again) == [Decision.REPEATED, Decision.REPEATED]
    assert again.held == first.held


def test_a_device_that_was_deleted_and_added_again_returns():
    held = dict(decisions.from_feed([record(op="added", date=10)], {}, None).held)
    held |= decisions.from_feed([record(op="deleted", date=20)], held, None).held

    outcome = decisions.from_feed([record(op="added", date=30)], held, None)

    assert decided(outcome) == [Decision.RETURNED]


def test_a_deletion_that_comes_before_we_knew_the_device_outlasts_older_additions():
    held = dict(decisions.from_feed([record(op="deleted", date=20)], {}, None).held)

    outcome = decisions.from_feed([record(op="added", date=10)], held, None)

    assert decided(outcome) == [Decision.STALE]


def test_an_operation_of_the_very_second_that_is_known_is_settled_by_asking():
    """Dates have whole seconds: which of the two came later is not in them."""
    operation = record(op="modified", date=10, color="BLACK")
    known = listed(record())
    known["A1"].op_date = at(10)

    for held, list_began in ((known, None), (listed(record(), as_of=10), None), ({}, at(10))):
        outcome = decisions.from_feed([operation], held, list_began)
        assert decided(outcome) == [Decision.ASKED]
        assert outcome.doubts.keys() == {"A1"}


def test_what_apple_says_of_the_device_itself_decides():
    held = listed(record(), as_of=50)
    doubt = record(op="deleted", date=10)

    still = decisions.from_details(
        {"A1": doubt}, {"A1": record(response_status="SUCCESS")}, held, at(60)
    )
    gone = decisions.from_details(
        {"A1": doubt}, {"A1": record(response_status="NOT_ACCESSIBLE")}, held, at(60)
    )

    assert decided(still) == [Decision.KEPT]
    assert still.held["A1"].listed
    assert decided(gone) == [Decision.REMOVED]
    assert not gone.held["A1"].listed


def test_while_apple_does_not_say_nothing_is_lost():
    held = listed(record(), as_of=50)

    outcome = decisions.from_details({"A1": None}, {}, held, at(60))

    assert decided(outcome) == [Decision.UNDECIDED]
    assert outcome.held["A1"].listed
    assert outcome.held["A1"].doubtful


def test_a_new_device_of_which_apple_does_not_say_comes_as_any_other_does():
    doubt = record(op="added", date=10)

    outcome = decisions.from_details({"A1": doubt}, {}, {}, at(60))

    assert decided(outcome) == [Decision.ADDED, Decision.UNDECIDED]
    assert outcome.held["A1"].listed
    assert outcome.of(Decision.ADDED) == ["A1"]


def test_what_changed_is_told_field_by_field():
    held = listed(record(asset_tag="7"), as_of=0)

    outcome = decisions.from_feed([record(op="modified", date=9, color="BLACK")], held, at(0))

    assert outcome.entries[0].changes == {"color": ["SILVER", "BLACK"], "asset_tag": ["7", ""]}


# --- Whatever Apple does -------------------------------------------------------------------------


@dataclass
class Apple:
    """A list, a log of operations with dates of whole seconds, and answers about devices."""

    now: int = 0
    devices: dict[str, DeviceRecord] = field(default_factory=dict)
    log: list[DeviceRecord] = field(default_factory=list)

    def change(self, serial: str, color: str | None, seconds: int) -> None:
        """Give the device this color, adding it where it is not there; None takes it away."""
        self.now += seconds
        if color is None:
            if self.devices.pop(serial, None) is not None:
                self.log.append(record(serial, "deleted", self.now, ""))
            return
        op = "modified" if serial in self.devices else "added"
        self.devices[serial] = record(serial, color=color)
        self.log.append(record(serial, op, self.now, color))

    def details(self, serials) -> dict[str, DeviceRecord]:
        return {
            serial: replace(
                self.devices.get(serial, record(serial, color="")),
                response_status="SUCCESS" if serial in self.devices else "NOT_ACCESSIBLE",
            )
            for serial in serials
        }


@dataclass
class Us:
    held: dict[str, Held] = field(default_factory=dict)
    position: int = 0
    list_as_of: datetime | None = None

    def read_list(self, apple: Apple) -> None:
        self.list_as_of, self.position = at(apple.now), len(apple.log)
        found = decisions.from_list(apple.devices.values(), self.held, self.list_as_of)
        missing = [s for s, h in self.held.items() if h.listed and s not in apple.devices]
        self.held |= found.held
        self.ask(apple, dict.fromkeys(missing))

    def follow(self, apple: Apple, page: list[DeviceRecord]) -> None:
        outcome = decisions.from_feed(page, self.held, self.list_as_of)
        self.ask(apple, outcome.doubts)
        self.held |= {s: h for s, h in outcome.held.items() if s not in outcome.doubts}

    def ask(self, apple: Apple, asked) -> None:
        answers = apple.details(asked)
        outcome = decisions.from_details(asked, answers, self.held, at(apple.now))
        self.held |= outcome.held

    def listed(self) -> dict[str, str]:
        return {s: h.facts["color"] for s, h in self.held.items() if h.listed}


steps = st.one_of(
    st.tuples(
        st.just("change"),
        st.sampled_from(SERIALS),
        st.one_of(st.none(), st.sampled_from(COLORS)),
        st.integers(0, 2),
    ),
    st.tuples(st.just("list")),
    # How many new operations, which old ones again, and in what order.
    st.tuples(
        st.just("feed"), st.integers(0, 4), st.lists(st.integers(0, 20), max_size=3), st.randoms()
    ),
)


@settings(max_examples=600, deadline=None)
@given(st.lists(steps, max_size=25))
def test_in_the_end_we_hold_what_apple_lists(story):
    apple, us = Apple(), Us()
    for what, *how in story:
        if what == "change":
            apple.change(*how)
        elif what == "list":
            us.read_list(apple)
        else:
            count, again, random = how
            page = apple.log[us.position : us.position + count]
            us.position += len(page)
            page = page + [apple.log[i] for i in again if i < us.position]
            random.shuffle(page)
            us.follow(apple, page)

    us.follow(apple, apple.log[us.position :])

    assert us.listed() == {serial: each.color for serial, each in apple.devices.items()}
