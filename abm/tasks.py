"""Celery's part of the ABM app: fetch and call, nothing else. When they run stands in settings."""

from __future__ import annotations

from celery import shared_task

from abm import assignment, copies, disowns, retention, runs, servers, signals, state, tokens
from abm import sync as syncing
from abm.models import Server


@shared_task(name="abm.tasks.sync_due")
def sync_due() -> None:
    """Call workers to every server whose five minutes are over, and to what waits for one."""
    servers.sync_due()
    tokens.publish_waiting()
    disowns.publish_waiting()
    assignment.publish_waiting()


@shared_task(name="abm.tasks.sync")
def sync(server_id: int) -> None:
    """Run one server's sync (abm/sync.py), and then what had to wait for its end."""
    syncing.sync(server_id)
    disowns.publish_waiting(server_id)
    signals.synced.send(Server, server_id=server_id)
    assignment.carry_out(server_id)


@shared_task(name="abm.tasks.assign")
def assign(server_id: int) -> None:
    """Tell Apple which profile each device gets (abm/assignment.py), then what had to wait."""
    assignment.carry_out(server_id)
    disowns.publish_waiting(server_id)


@shared_task(name="abm.tasks.disown")
def disown(server_id: int) -> None:
    """Have Apple disown what waits for that (abm/disowns.py), and tell it what had to wait."""
    disowns.carry_out(server_id)
    assignment.carry_out(server_id)


@shared_task(name="abm.tasks.fetch_copy")
def fetch_copy(definition_id: int) -> None:
    """Fetch Apple's copy of a profile (abm/copies.py), and call for what had to wait meanwhile."""
    server_id = copies.fetch(definition_id)
    runs.publish_waiting(server_id)
    disowns.publish_waiting(server_id)
    assignment.publish_waiting(server_id)


@shared_task(name="abm.tasks.check_token")
def check_token(upload_id: int) -> None:
    """Try an uploaded token with Apple (abm/tokens.py)."""
    tokens.check(upload_id)


@shared_task(name="abm.tasks.ask_for_lists")
def ask_for_lists() -> None:
    """Have every server's whole list read by its next run."""
    servers.ask_for_lists()


@shared_task(name="abm.tasks.remind")
def remind() -> None:
    """Tell of tokens that are about to expire (abm/state.py)."""
    state.remind()


@shared_task(name="abm.tasks.remove_old")
def remove_old() -> None:
    """Remove what the sync wrote and whose time is over (abm/retention.py)."""
    retention.remove_old()
