"""Why a device has the profile that it has, or none: the rules in their order with the one that
won, what Apple was told and answered, and what comes next. `resolution.py` decides the same for all
devices at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from django.db.models import Case, When
from django.utils import timezone

from abm import assignment, differences, state
from abm.models import AbmDevice, Definition, LedgerEntry, Server, Wish
from abm.platforms import platform
from mdm import moments
from mdm.models import Group
from profiles.models import Default, DeviceProfile, Profile, Version

_ATTEMPTS = 10
_WITHOUT = frozenset({"", "empty", "removed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One thing that could give the device a profile. `kind` is device, group or default; `name`
    names the group or the OS; `profile` is None where it gives none. `why` says why it won or lost.
    """

    kind: str
    name: str
    id: int | None
    profile: Profile | None
    won: bool
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What Apple was told, and what it answered."""

    at: datetime
    said: str
    answer: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """`state` is a word for programs: unlisted, unassigned, settled, pending, cooling, blocked,
    undefined, following. `sentence` is for people. `wanted` is the version that the device should
    have, `has` what Apple says that it has. `next_at` is when something happens by itself.
    """

    serial_number: str
    state: str
    sentence: str
    rules: tuple[Rule, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    wanted: Version | None = None
    has: str = ""
    listed: AbmDevice | None = None
    server: Server | None = None
    next_step: str = ""
    next_at: datetime | None = None
    os: str = ""

    @property
    def winner(self) -> Rule | None:
        return next((rule for rule in self.rules if rule.won), None)


def explain(serial_number: str, now: datetime | None = None) -> Explanation:
    """Everything about one serial number, also one that nobody knows."""
    now = now or timezone.now()
    rows = AbmDevice.objects.filter(serial_number=serial_number).select_related(
        "server", "device", "wish__definition"
    )
    listed = rows.filter(current=True, removed_at=None).first()
    if listed is None:
        return _unlisted(serial_number, rows.order_by("-removed_at").first(), now)
    return _Case(listed, now).explained()


def is_settled(serial_number: str) -> bool:
    """Whether there is nothing to explain: it has what it should have, or is not in ABM."""
    listed = AbmDevice.objects.filter(
        serial_number=serial_number, current=True, removed_at=None
    ).annotate(settled=Case(When(differences.settled(), then=True), default=False))
    return listed.values_list("settled", flat=True).first() is not False


# --- Not on the list -----------------------------------------------------------------------------


def _unlisted(serial_number: str, gone: AbmDevice | None, now: datetime) -> Explanation:
    broken = [
        f"{server}: {found.word.lower()}"
        for server in Server.objects.filter(disconnected_at=None).order_by("pk")
        if not (found := state.of(server, now)).syncs or found.tone == "bad"
    ]
    if gone is not None and gone.removed_at is not None:
        said = (
            f"It has no profile because it left the list of {gone.server} on"
            f" {moments.moment(gone.removed_at)}."
        )
    else:
        said = "It has no profile because Apple Business Manager lists it for no server here."
    if broken:
        said += f" The list may be old ({'; '.join(broken)})."
    return Explanation(
        serial_number=serial_number,
        state="unlisted",
        sentence=said,
        rules=tuple(_rules(serial_number, "", None)),
        next_step="Assign it to one of these servers in Apple Business Manager; it appears here"
        " within 5 minutes.",
    )


# --- The rules -----------------------------------------------------------------------------------


def default_os(listed: AbmDevice) -> str:
    """The word of `Default.OS` for a listed device; "" where nobody knows."""
    word = platform(listed.os, listed.device_family)
    if not word and listed.device is not None:
        word = listed.device.platform
    return "iOS" if word == "iPadOS" else word


def _rules(serial_number: str, os: str, server: Server | None) -> Iterable[Rule]:
    """All that could speak for a device, in the order in which they are asked."""
    won = False
    for kind, name, pk, profile, nothing in _candidates(serial_number, os, server):
        if profile is None:
            yield Rule(kind=kind, name=name, id=pk, profile=None, won=False, why=nothing)
            continue
        why = "The first that speaks: it wins." if not won else "Something before it speaks."
        yield Rule(kind=kind, name=name, id=pk, profile=profile, won=not won, why=why)
        won = True


_Candidate = tuple[str, str, int | None, Profile | None, str]


def _candidates(serial_number: str, os: str, server: Server | None) -> Iterable[_Candidate]:
    own = (
        DeviceProfile.objects.filter(serial_number=serial_number).select_related("profile").first()
    )
    yield (
        "device",
        "",
        own.pk if own else None,
        own.profile if own else None,
        "No profile was given to this very device.",
    )
    groups = (
        Group.objects.filter(members__serial_number=serial_number)
        .select_related("profile__profile")
        .order_by("rank")
    )
    for group in groups:
        given = getattr(group, "profile", None)
        yield (
            "group",
            group.name,
            group.pk,
            given.profile if given else None,
            "This group has no profile.",
        )
    if not groups:
        yield ("group", "", None, None, "It is in no group.")
    yield from _default_candidates(os, server)


def _default_candidates(os: str, server: Server | None) -> Iterable[_Candidate]:
    if not os:
        yield ("default", "", None, None, "Its OS is not known, so no default fits it.")
        return
    found = {
        each.server_id: each for each in Default.objects.filter(os=os).select_related("profile")
    }
    label = Default.OS(os).label
    if server is not None:
        theirs = found.get(server.pk)
        yield (
            "default",
            f"{label} on {server}",
            theirs.pk if theirs else None,
            theirs.profile if theirs else None,
            f"{server} has no default of its own for {label}.",
        )
    general = found.get(None)
    yield (
        "default",
        label,
        general.pk if general else None,
        general.profile if general else None,
        f"There is no default for {label}.",
    )


# --- A device on the list ------------------------------------------------------------------------


@dataclass
class _Case:
    listed: AbmDevice
    now: datetime
    wish: Wish | None = field(init=False)
    definition: Definition | None = field(init=False)
    wanted: Version | None = field(init=False)
    os: str = field(init=False)
    rules: tuple[Rule, ...] = field(init=False)

    def __post_init__(self) -> None:
        listed = self.listed
        self.wish = getattr(listed, "wish", None)
        self.definition = self.wish.definition if self.wish else None
        self.os = default_os(listed)
        self.rules = tuple(_rules(listed.serial_number, self.os, listed.server))
        self.wanted = (
            Version.objects.select_related("profile").filter(pk=self.definition.reference).first()
            if self.definition
            else None
        )

    def explained(self) -> Explanation:
        word, sentence, step, at = self._found()
        return Explanation(
            serial_number=self.listed.serial_number,
            state=word,
            sentence=sentence,
            rules=self.rules,
            attempts=tuple(_attempts(self.listed)),
            wanted=self.wanted,
            has=self._has(),
            listed=self.listed,
            server=self.listed.server,
            next_step=step,
            next_at=at,
            os=self.os,
        )

    def _found(self) -> tuple[str, str, str, datetime | None]:
        winner = next((rule for rule in self.rules if rule.won), None)
        ruled = winner.profile.current_id if winner and winner.profile else None
        if self.wish is None or (self.wanted.pk if self.wanted else None) != ruled:
            return (
                "following",
                "A change that was made just now is being worked out.",
                "It shows here within seconds.",
                None,
            )
        if self.wanted is None or self.definition is None:
            return self._without()
        if self._settled(self.definition):
            return self._with()
        return self._differing(self.definition)

    # Nothing is wanted

    def _without(self) -> tuple[str, str, str, datetime | None]:
        label = Default.OS(self.os).label if self.os else "its OS, which nobody knows"
        said = (
            "It is Unassigned: no profile was given to it, none of its groups has one, and there is"
            f" no default for {label}."
        )
        if self.listed.profile_status not in _WITHOUT:
            if self._is_ours():
                said += f" Apple still has one of ours for it, {self._to_be_taken_away()}."
            else:
                said += " Apple has a profile for it that was not made here; it is left alone."
        return "unassigned", said, f"Set a default for {label}, or give it a profile.", None

    def _to_be_taken_away(self) -> str:
        blocked = assignment.why_not(self.listed.server, self.now)
        if blocked:
            return f"which stays as long as Apple cannot be told: {blocked.removesuffix('.')}"
        if self.wish is not None and self._cools(self.wish):
            return f"and {_answered(self.wish)}; the next try is at {_clock(self.wish.retry_at)}"
        return "which is being taken away"

    # It has what it should have

    def _settled(self, definition: Definition) -> bool:
        return (
            definition.state == Definition.State.DEFINED
            and self.listed.profile_uuid == definition.profile_uuid
            and self.listed.profile_status not in _WITHOUT
        )

    def _with(self) -> tuple[str, str, str, datetime | None]:
        because = self._because()
        listed = self.listed
        if listed.profile_status == "pushed":
            at = (
                f" on {moments.moment(listed.profile_push_time)}"
                if listed.profile_push_time
                else ""
            )
            return (
                "settled",
                f"It has {self.wanted}, {because}. The device fetched it{at}.",
                "Nothing: a change takes effect when the device is next erased.",
                None,
            )
        at = (
            f" since {moments.moment(listed.profile_assign_time)}"
            if listed.profile_assign_time
            else ""
        )
        return (
            "settled",
            f"It gets {self.wanted}, {because}. Apple has it assigned{at}.",
            "The device takes it when it is activated: when it is new, or next erased.",
            None,
        )

    # It has not

    def _differing(self, definition: Definition) -> tuple[str, str, str, datetime | None]:
        begin = f"It should get {self.wanted}, {self._because()}, and has {self._has()}"
        if definition.state == Definition.State.REFUSED:
            return (
                "undefined",
                f"{begin}, because Apple refuses to define that profile:"
                f" {definition.refusal or 'no reason given'}.",
                "Correct the profile and apply another version; Apple is asked again once a day.",
                definition.retry_at,
            )
        blocked = assignment.why_not(self.listed.server, self.now)
        if blocked:
            return (
                "blocked",
                f"{begin}, because Apple cannot be told: {blocked}",
                state.of(self.listed.server, self.now).fix or "It goes on by itself afterwards.",
                self.listed.server.retry_at,
            )
        if definition.retry_at is not None and definition.retry_at > self.now:
            return (
                "cooling",
                f"{begin}, because Apple gave no usable answer when it was asked to define that"
                f" profile; the next try is at {_clock(definition.retry_at)}.",
                "Nothing: it is tried again by itself.",
                definition.retry_at,
            )
        wish = self.wish
        if wish is not None and self._cools(wish):
            return (
                "cooling",
                f"{begin}, because {_answered(wish)}; the next try is at {_clock(wish.retry_at)}.",
                "Nothing: it is tried again by itself.",
                wish.retry_at,
            )
        return (
            "pending",
            f"{begin}, because Apple has not been told yet.",
            "It is told within 5 minutes.",
            None,
        )

    def _cools(self, wish: Wish) -> bool:
        return wish.retry_at is not None and wish.retry_at > self.now

    def _because(self) -> str:
        winner = next((rule for rule in self.rules if rule.won), None)
        if winner is None:
            return "for a reason that is gone"
        if winner.kind == "device":
            return "which was given to this very device"
        if winner.kind == "group":
            return f"from its group {winner.name}"
        return f"the default for {winner.name}"

    def _has(self) -> str:
        listed = self.listed
        if listed.profile_status == "removed":
            return "none (Apple says that it was removed)"
        if listed.profile_status in _WITHOUT or not listed.profile_uuid:
            return "none"
        found = Definition.objects.filter(profile_uuid=listed.profile_uuid).first()
        return str(found) if found else "one that was not made here"

    def _is_ours(self) -> bool:
        return Definition.objects.filter(profile_uuid=self.listed.profile_uuid).exists()


# --- What Apple was told -------------------------------------------------------------------------


def _attempts(listed: AbmDevice) -> Iterable[Attempt]:
    rows = LedgerEntry.objects.filter(
        serial_number=listed.serial_number,
        server=listed.server,
        source=LedgerEntry.Source.ASSIGN,
    ).order_by("-pk")[:_ATTEMPTS]
    entries = list(rows)
    uuids = {_told(each) for each in entries} - {""}
    names = dict(
        Definition.objects.filter(profile_uuid__in=uuids).values_list("profile_uuid", "name")
    )
    for each in entries:
        told = _told(each)
        said = f"Assign {names.get(told, 'a profile')}" if told else "Take its profile away"
        yield Attempt(at=each.at, said=said, answer=each.op_type, meaning=meaning_of(each.op_type))


def _told(entry: LedgerEntry) -> str:
    pair = (entry.changes or {}).get("profile_uuid")
    return str(pair[1]) if isinstance(pair, list) and len(pair) == 2 else ""


def meaning_of(answer: str) -> str:
    """Apple's status for one device in words."""
    return _MEANINGS.get(answer, f"Apple answered {answer[:100]}." if answer else _SILENT)


_SILENT = "Apple's answer does not name this device."
_MEANINGS = {
    "SUCCESS": "Apple took it.",
    "THROTTLED": "Apple throttled it: too much was changed about this device lately.",
    "NOT_ACCESSIBLE": "Apple says that the device is not assigned to this server.",
    "FAILED": "Apple failed to do it, and does not say why.",
    assignment.UNANSWERED: "Apple could not be reached, or its answer made no sense.",
}
_ANSWERED = {
    "SUCCESS": "Apple took it at {at} and says something else since",
    "THROTTLED": "Apple throttled the request at {at}",
    "NOT_ACCESSIBLE": "Apple said at {at} that the device is not assigned to this server",
    "FAILED": "Apple failed to assign it at {at} and gave no reason",
    assignment.UNANSWERED: "Apple gave no usable answer at {at}",
}


def _answered(wish: Wish) -> str:
    at = _clock(wish.tried_at)
    otherwise = (
        f"Apple answered {wish.answer[:100]} at {{at}}"
        if wish.answer
        else ("Apple's answer at {at} did not name this device")
    )
    return _ANSWERED.get(wish.answer, otherwise).format(at=at)


def _clock(at: datetime | None) -> str:
    if at is None:
        return "some time"
    today = timezone.localdate(at) == timezone.localdate()
    return moments.clock(at) if today else moments.moment(at)
