"""The rounds over the audit log's chain: each hour a worker checks the next rows, follows the new
ones, and begins anew at the first row a week later. What it found is kept until a whole round has
found the chain unbroken, and pages say so.

A round costs little however many years it goes over: so many rows an hour, read one by one. What
the rounds prove is what `manage.py audit verify` proves (docs/audit.md), against whoever cannot
write this reading too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.utils import timezone

from mdm.audit import seal
from mdm.audit.seal import NOTHING, TOLD, ChainError, Head, Report
from mdm.health import readings, things
from mdm.health.models import Reading
from mdm.health.pulse import Pulse
from mdm.health.things import STORES, Thing
from mdm.standing import Tone

log = structlog.get_logger(__name__)

NAME = "audit chain"
# Of one hour: seconds of work, and eight million rows a week.
ROWS = 50_000
WHOLE_AGAIN = timedelta(days=7)
_EVERY = timedelta(hours=1)
# Where nothing was checked for so long, something is wrong.
_STALE = timedelta(days=1)


def register() -> None:
    readings.register(NAME, go_on, _EVERY)
    things.add(thing, 95)


def go_on() -> Mapping[str, Any]:
    """Check the next rows; returns how far the round has come, and what is known to be broken."""
    now, known = timezone.now(), _known()
    if known.get("ended") and now - datetime.fromisoformat(known["began"]) >= WHOLE_AGAIN:
        known |= {"place": None, "round": _NONE}
    place, far = _head(known.get("place")), _head(known.get("far"))
    if place == NOTHING:
        known["began"] = now.isoformat()
    try:
        report = seal.walk(place, {far}, ROWS)
    except ChainError as error:
        log.error("audit_not_checked", problem=str(error))
        return {**known, "trouble": str(error)}
    return _kept(known, report, now)


def farthest(given: Head | None) -> Head:
    """The farthest place that was ever checked: the chain still has to lead through it. Unless the
    head that someone has `given` is where the last check came to the end, or newer: they take that
    end as it is.
    """
    known = _known()
    end = _head(known.get("place" if known.get("ended") else "far"))
    return given if given is not None and given.number >= end.number else _head(known.get("far"))


def keep(report: Report, far: Head) -> None:
    """Take over what a check of the whole chain found, through `far`, so that pages say that from
    now on.
    """
    now, known = timezone.now(), _known()
    was = {
        "began": now.isoformat(),
        # A head that does not fit is none to go by.
        "far": known.get("far") if report.broken else str(far),
        "since": known.get("since"),
    }
    Reading.objects.update_or_create(
        name=NAME, defaults={"at": now, "data": _kept(was, report, now)}
    )


def thing(now: Pulse | None = None) -> Iterable[Thing]:
    """Whether the chain holds, as far as the rounds have come."""
    reading = readings.last(NAME)
    data: Mapping[str, Any] = reading.data if reading else {}
    stale = reading is not None and timezone.now() - reading.at > _STALE
    told: tuple[Tone, str, str, str]
    if data.get("trouble"):
        told = ("bad", "Not checked", data["trouble"], _WHAT_TO_DO)
    elif data.get("found", _NONE)["count"]:
        told = ("bad", "Broken", _in_words(data["found"]), _WHAT_TO_DO)
    elif reading is None:
        told = ("off", "Not checked yet", "A worker checks it for the first time in minutes.", "")
    elif stale:
        told = ("warning", "Not checked", "No row was checked for a day.", _WORKER)
    else:
        told = ("good", "Unbroken", _how_far(data), "")
    tone, word, evidence, fix = told
    broken = data.get("since")
    yield Thing(
        group=STORES,
        name="Audit log's chain",
        tone=tone,
        word=word,
        evidence=evidence,
        since=datetime.fromisoformat(broken) if broken else None,
        fix=fix,
    )


_NONE: Mapping[str, Any] = {"count": 0, "breaks": []}
_WORKER = "See that a worker and the beat run, and what the worker's log says of look_around."
_WHAT_TO_DO = (
    "Stop whoever has access to the database, keep a copy of it as it is, and run manage.py audit"
    " verify, which reads every row; docs/audit.md says how to go on."
)


def _known() -> dict[str, Any]:
    reading = readings.last(NAME)
    return dict(reading.data) if reading else {}


def _kept(known: Mapping[str, Any], report: Report, now: datetime) -> dict[str, Any]:
    """The state after a step: this round's breaks, and those that are told, which are those of the
    round before too until this one has come to its end.
    """
    before = known.get("found", _NONE)
    own = _more(known.get("round", _NONE), _as_data(report))
    found = own if report.ended else own if own["count"] > before["count"] else before
    if report.broken:
        log.error("audit_broken", count=report.broken, breaks=_as_data(report)["breaks"])
    far = _head(known.get("far"))
    if not found["count"]:
        # What was made anew after a break is no place to go by.
        far = max(far, report.head, key=lambda head: head.number)
    return {
        "began": known["began"],
        "place": str(report.head),
        "far": str(far),
        "ended": report.ended,
        "whole": now.isoformat() if report.ended else known.get("whole"),
        "round": own,
        "found": found,
        "since": (known.get("since") or now.isoformat()) if found["count"] else None,
        "trouble": "",
    }


def _more(one: Mapping[str, Any], two: Mapping[str, Any]) -> Mapping[str, Any]:
    """The two together; what both tell counts once."""
    new = [each for each in two["breaks"] if each not in one["breaks"]]
    return {
        "count": one["count"] + two["count"] - len(two["breaks"]) + len(new),
        "breaks": [*one["breaks"], *new][:TOLD],
    }


def _as_data(report: Report) -> Mapping[str, Any]:
    told = [[each.number, each.event, each.what] for each in report.breaks]
    return {"count": report.broken, "breaks": told}


def _head(text: str | None) -> Head:
    return Head.parse(text) if text and not text.startswith("0:") else NOTHING


def _in_words(found: Mapping[str, Any]) -> str:
    (number, event, what), *_ = found["breaks"]
    row = f" (event {event})" if event is not None else ""
    more = f" So are {found['count'] - 1:,} other places." if found["count"] > 1 else ""
    return f"Number {number:,}{row} {what}.{more}"


def _how_far(data: Mapping[str, Any]) -> str:
    place = _head(data["place"]).number
    began, whole = datetime.fromisoformat(data["began"]), data["whole"]
    if not data["ended"]:
        last = f" The last round ended on {_day(whole)}." if whole else ""
        return f"A round over all rows is under way, at number {place:,}.{last}"
    return (
        f"Every row up to number {place:,} was checked since {began:%B %d, %Y}. New ones are each"
        " hour, and all of them again a week later."
    )


def _day(moment: str) -> str:
    return f"{datetime.fromisoformat(moment):%B %d, %Y}"
