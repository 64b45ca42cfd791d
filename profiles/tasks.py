"""Celery's part of the profiles app: fetch and call, nothing else."""

from __future__ import annotations

from celery import shared_task

from profiles import following


@shared_task(name="profiles.tasks.follow")
def follow() -> None:
    """Take up what has changed (profiles/following.py)."""
    following.follow()
