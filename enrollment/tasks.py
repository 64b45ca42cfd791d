"""Celery's part of the enrollment app: fetch and call, nothing else."""

from __future__ import annotations

from celery import shared_task

from enrollment import apple, awaiting, retention
from mdm.audit.actor import Actor


@shared_task(name="enrollment.tasks.trust_apple")
def trust_apple(asked_by: str = "the first start") -> None:
    """Fetch Apple's certificates where any is missing (enrollment/apple.py)."""
    if apple.missing():
        apple.fetch(Actor.system(f"trust_apple, asked for by {asked_by}"))


@shared_task(name="enrollment.tasks.remove_old")
def remove_old() -> None:
    """Remove arrivals whose time is over (enrollment/retention.py)."""
    retention.remove_old()


@shared_task(name="enrollment.tasks.follow_awaiting")
def follow_awaiting() -> None:
    """Let devices go that await their configuration (enrollment/awaiting.py)."""
    awaiting.follow()
