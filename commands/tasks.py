"""Celery's part of the commands app: fetch and call, nothing else."""

from __future__ import annotations

from celery import shared_task

from commands import (
    approvers,
    consequences,
    first_inventory,
    queue,
    restraint,
    retention,
    tally,
)

# What comes while a task runs is left for the next second: going on with every few that trickle in
# would cost as much for each of them as for a whole batch.
BATCH = 500


@shared_task
def drain_replies() -> None:
    """Apply what devices answered."""
    while consequences.drain(BATCH) == BATCH:
        pass


@shared_task
def ask_first_inventories() -> None:
    """Ask newly enrolled devices about themselves."""
    while first_inventory.ask(BATCH) == BATCH:
        pass


@shared_task
def expire_commands() -> None:
    queue.expire()


@shared_task
def release_held() -> None:
    """Let commands go that nothing holds back any more."""
    restraint.release_due()


@shared_task
def count_entries() -> None:
    """Count what the entries of large commands add up to."""
    tally.count_due()


@shared_task
def tell_approvers() -> None:
    """Write to those who may approve what waits for a second person."""
    approvers.tell()


@shared_task
def remove_old() -> None:
    """Remove commands whose time is over."""
    retention.remove_old()
