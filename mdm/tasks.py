"""The core's Celery tasks: fetch and call, nothing else. When they run stands in settings."""

from __future__ import annotations

from celery import shared_task

from mdm import retention
from mdm.audit import seal
from mdm.push import wake
from mdm.webhooks import reminders, sending


@shared_task(name="mdm.tasks.wake_due")
def wake_due() -> None:
    """Push to every enrollment that is due (mdm/push/wake.py)."""
    wake.wake_due()


@shared_task(name="mdm.tasks.remove_old")
def remove_old() -> None:
    """Remove history whose time is over, and sessions that have ended (mdm/retention.py)."""
    retention.remove_old()
    retention.remove_sessions()


@shared_task(name="mdm.tasks.send_webhooks")
def send_webhooks() -> None:
    """Send what is due to webhooks (mdm/webhooks/sending.py)."""
    sending.send_due()


@shared_task(name="mdm.tasks.tell_of_expiries")
def tell_of_expiries() -> None:
    """Tell of what ends soon (mdm/webhooks/reminders.py)."""
    reminders.tell()


@shared_task(name="mdm.tasks.seal_audit")
def seal_audit() -> None:
    """Add to the audit log's chain what is not in it yet (mdm/audit/seal.py)."""
    seal.seal()
