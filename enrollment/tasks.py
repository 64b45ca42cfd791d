"""Celery's part of the enrollment app: fetch and call, nothing else."""

from __future__ import annotations

from celery import shared_task

from enrollment import awaiting


@shared_task(name="enrollment.tasks.follow_awaiting")
def follow_awaiting() -> None:
    """Let devices go that await their configuration (enrollment/awaiting.py)."""
    awaiting.follow()
