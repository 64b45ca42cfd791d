"""The sync of one server: first the whole list, then, from run to run, what changed since.

    list      a page of the whole list, and the next, until there is no more
    missing   what we hold and the list did not contain is asked about, one by one
    feed      a page of changes, and the next, until there is no more

Each page is fetched without a transaction, decided on (`decisions.py`), and written in one
(`store.py`) together with the place where the next page begins. So a run may end at any moment,
and the next one goes on. The feed is a hint; once a night the list is read again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import structlog
from django.db import transaction
from django.utils import timezone

from abm import client as apple
from abm import conversation, decisions, runs, servers, state, store
from abm.client import AbmError, Client, CursorError, CursorExhausted, Patience
from abm.conversation import Busy, Pause
from abm.decisions import Decision, Held, Outcome
from abm.models import RunLine, Server, SyncRun
from abm.state import Stuck
from abm.store import Overtaken, Place
from abm.wire.records import DeviceRecord, Page

Phase = Server.Phase

# So many pages without a device, while more is said to follow, and Apple is going round in circles.
_MOST_EMPTY = 1_000
_STUCK_RUNS = 3

_log = structlog.get_logger(__name__)


def sync(server_id: int, patience: Patience | None = None) -> SyncRun | None:
    """Run the sync of a server to its end, whatever that is; None where another process is at it,
    or where it has no token that could work.
    """
    try:
        with conversation.alone(server_id):
            server = Server.objects.get(pk=server_id)
            if not state.of(server).syncs:
                return None
            run = runs.begin(server)
            _run(run, server, patience or Patience())
            return run
    except Busy:
        return None


def _run(run: SyncRun, server: Server, patience: Patience) -> None:
    patient = Patience(patience.attempts, patience.first, patience.longest, _pause(run, patience))
    try:
        with conversation.with_apple(server, patient) as client:
            _Run(run, server, client).through()
    except Overtaken:
        _log.warning("A sync run was overtaken", server=server.pk, run=run.pk)
        runs.interrupt(run, "Another run took over, or the server was disconnected.")
    except (AbmError, Stuck) as error:
        problem = state.problem_of(error)
        said = str(error)
        state.note(server, problem, said, getattr(error, "retry_after", None))
        runs.fail(run, problem, said or problem.label)
    except Exception as error:
        runs.fail(run, "", f"Something went wrong here: {type(error).__name__}. The log has it.")
        raise
    else:
        state.clear(server)
        runs.finish(run)


def _pause(run: SyncRun, patience: Patience) -> Pause:
    def pause(seconds: float, why: str) -> None:
        runs.note_wait(run, seconds, why)
        patience.pause(seconds, why)

    return pause


@dataclass
class _Run:
    """One run on its way. `sent` are the cursors that were sent in this phase."""

    run: SyncRun
    server: Server
    client: Client
    sent: set[str] = field(default_factory=set)
    empty: int = 0
    begun_again: int = 0

    def through(self) -> None:
        """Every phase to its end. Raises AbmError, Stuck, Overtaken."""
        self._look_at_account()
        if self._list_is_wanted():
            self._begin_list("A full sync is due.")
        while True:
            if self.server.phase == Phase.LIST:
                self._list()
            if self.server.phase == Phase.MISSING:
                self._ask_about_missing()
            self._ask_about_doubtful()
            self._feed()
            if self.server.phase == Phase.FEED and not self._asked_meanwhile():
                break
        count = store.relink(self.server)
        if count:
            runs.say(self.run, f"{count:,} listed devices had none here any more and got one.")

    # --- The three phases ----------------------------------------------------------------------

    def _list(self) -> None:
        self.sent.clear()
        while self.server.phase == Phase.LIST:
            runs.doing(self.run, "Reading the whole list")
            if not self.server.cursor and not self.server.list_number:
                store.begin_list(self.run, self.server, self.client.date)
            try:
                page = self.client.list_devices(self.server.cursor, self._limit("/server/devices"))
            except CursorExhausted:
                # Read to its end already.
                self._write(Outcome(), {}, Place(phase=Phase.MISSING, cursor=self.server.cursor))
                return
            except CursorError as error:
                self._begin_list(f"Apple does not take the place we were at ({error}).")
                continue
            self._write_list_page(page)

    def _write_list_page(self, page: Page) -> None:
        serials = [record.serial_number for record in page.devices]
        held = store.held(self.server, serials)
        outcome = decisions.from_list(page.devices, held, self.server.list_began_at)
        stuck = self._turns_in_circles(page)
        phase = Phase.LIST if page.more_to_follow else Phase.MISSING
        self._write(outcome, held, Place(phase=phase, cursor=page.cursor), page, serials)
        if stuck:
            raise stuck

    def _ask_about_missing(self) -> None:
        """Devices that the list did not contain go only when Apple says so of each: a list that
        breaks off early must not take devices away.
        """
        while serials := store.missing(self.server, apple.MOST_SERIALS):
            runs.doing(self.run, "Asking about devices that were not listed")
            self._ask(dict.fromkeys(serials), listed=serials)
        Server.objects.filter(pk=self.server.pk).update(list_finished_at=timezone.now())
        self._write(Outcome(), {}, Place(phase=Phase.FEED, cursor=self.server.cursor))

    def _feed(self) -> None:
        self.sent.clear()
        while True:
            runs.doing(self.run, "Following changes")
            try:
                page = self.client.list_changes(self.server.cursor, self._limit("/devices/sync"))
            except CursorExhausted:
                return
            except CursorError as error:
                self._begin_list(f"Apple does not take the place we were at ({error}).")
                return
            stuck = self._turns_in_circles(page)
            self._write_feed_page(page)
            if stuck:
                raise stuck
            if not page.more_to_follow:
                return

    def _write_feed_page(self, page: Page) -> None:
        held = store.held(self.server, (record.serial_number for record in page.devices))
        outcome = decisions.from_feed(page.devices, held, self.server.list_began_at)
        if outcome.doubts:
            self._settle(outcome, held)
        self._write(outcome, held, Place(phase=Phase.FEED, cursor=page.cursor), page)

    # --- Asking about single devices -------------------------------------------------------------

    def _settle(self, outcome: Outcome, held: dict[str, Held]) -> None:
        """Have Apple decide what the feed left in doubt; into `outcome`."""
        answered = self._details(outcome.doubts, held)
        outcome.held |= answered.held
        outcome.entries += answered.entries

    def _ask_about_doubtful(self) -> None:
        serials = store.doubtful(self.server, apple.MOST_SERIALS)
        if serials and self.server.phase == Phase.FEED:
            runs.doing(self.run, "Asking about devices that are in doubt")
            self._ask(dict.fromkeys(serials))

    def _ask(self, asked: dict[str, None], listed: list[str] | None = None) -> None:
        held = store.held(self.server, asked)
        outcome = self._details(asked, held)
        self._write(outcome, held, Place.of(self.server), listed=listed or ())
        kept = outcome.of(Decision.KEPT, Decision.CHANGED)
        if listed and kept:
            runs.say(
                self.run,
                f"The list left out {len(kept):,} devices that Apple says are still ours; kept.",
                RunLine.Level.WARNING,
            )

    def _details(
        self, asked: dict[str, DeviceRecord] | dict[str, None], held: dict[str, Held]
    ) -> Outcome:
        answers, as_of = self.client.details(list(asked))
        return decisions.from_details(asked, answers, held, as_of)

    # --- What they share -----------------------------------------------------------------------

    def _write(
        self,
        outcome: Outcome,
        held: dict[str, Held],
        to: Place,
        page: Page | None = None,
        listed: list[str] | tuple[()] = (),
    ) -> None:
        before = (self.run.added, self.run.changed, self.run.removed)
        with transaction.atomic():
            store.write(
                self.run,
                self.server,
                outcome,
                before=held,
                to=to,
                page=self.run.pages + 1 if page else None,
                records=len(page.devices) if page else 0,
                listed=listed,
            )
            if page is not None:
                self._log_page(page, before)

    def _log_page(self, page: Page, before: tuple[int, int, int]) -> None:
        run = self.run
        now = (run.added, run.changed, run.removed)
        added, changed, removed = (after - first for after, first in zip(now, before, strict=True))
        if page.devices or page.more_to_follow:
            runs.say(
                run,
                f"Page {run.pages:,}: {len(page.devices):,} devices;"
                f" {added:,} added, {changed:,} changed, {removed:,} removed.",
            )
        for reason in page.unreadable[:10]:
            runs.say(run, f"Page {run.pages:,}: left out {reason}.", RunLine.Level.WARNING)

    def _begin_list(self, why: str) -> None:
        self.begun_again += 1
        if self.begun_again > 3:
            raise apple.CursorInvalid("Apple refused the place in its list again and again.")
        runs.say(self.run, f"{why} The whole list is read from its beginning.")
        self.sent.clear()
        # Apple's clock before the list begins: all that it says is at least as new.
        store.begin_list(self.run, self.server, self.client.date)

    def _look_at_account(self) -> None:
        """The account says how large a page may be; its answer also sets Apple's clock."""
        servers.note_account(self.server, self.client.account())

    def _list_is_wanted(self) -> bool:
        if self.server.stuck_runs >= _STUCK_RUNS:
            return True
        return self.server.phase == Phase.FEED and self.server.list_asked_at is not None

    def _asked_meanwhile(self) -> bool:
        """Someone asked for a full sync while this run was under way."""
        self.server.refresh_from_db(fields=["list_asked_at"])
        if self.server.list_asked_at is None:
            return False
        self._begin_list("A full sync was asked for meanwhile.")
        return True

    def _limit(self, uri: str) -> int:
        return servers.page_size(self.server, uri)

    def _turns_in_circles(self, page: Page) -> Stuck | None:
        """Compared with what was *sent*: a page is written in any case, and then the run stops."""
        self.sent.add(self.server.cursor)
        self.empty = 0 if page.devices else self.empty + 1
        if page.more_to_follow and (page.cursor in self.sent or self.empty > _MOST_EMPTY):
            return Stuck("Apple says that more is to follow and gives back the same place.")
        return None
