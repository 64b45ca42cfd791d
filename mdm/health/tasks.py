"""Celery's part of health: fetch and call, nothing else. When they run stands in settings."""

from __future__ import annotations

from celery import shared_task

from mdm.health import probes, pulse, readings


@shared_task(name="mdm.health.tasks.answer")
def answer(queue: str) -> None:
    """Say that tasks of this queue are carried out (mdm/health/pulse.py)."""
    pulse.answered(queue)


@shared_task(name="mdm.health.tasks.look_around")
def look_around() -> None:
    """Take the figures and call for the probes whose time has come."""
    probes.publish_due()
    readings.take_due()


@shared_task(
    name="mdm.health.tasks.probe",
    soft_time_limit=probes.GIVE_UP_AFTER,
    time_limit=probes.END_AFTER,
)
def probe(name: str) -> None:
    """Try whether one thing works (mdm/health/probes.py)."""
    probes.carry_out(name)
