"""Celery's part of the commands app: fetch and call, nothing else."""

from __future__ import annotations

from celery import shared_task

from commands import consequences, first_inventory, queue


@shared_task
def drain_replies() -> None:
    """Apply what devices answered, until nothing is left."""
    while consequences.drain() > 0:
        pass


@shared_task
def ask_first_inventories() -> None:
    """Ask newly enrolled devices about themselves."""
    while first_inventory.ask() > 0:
        pass


@shared_task
def expire_commands() -> None:
    queue.expire()
