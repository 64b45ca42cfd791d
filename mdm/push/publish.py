"""Calls a worker to the enrollments that are due; one that never hears of it costs a second, since
the sweep finds them too. The task itself is in `mdm/tasks.py`.
"""

from __future__ import annotations

import structlog
from celery import current_app
from django.db import connection, transaction

WAKE_DUE = "mdm.tasks.wake_due"
_EXPIRES = 20

_log = structlog.get_logger(__name__)


def call_worker_on_commit() -> None:
    """Publish the task when this transaction commits, once however often this is called in it."""
    if not any(hook[1] is _publish for hook in connection.run_on_commit):
        transaction.on_commit(_publish)


def _publish() -> None:
    """A broker that is down is no reason for the request to fail: its work is committed."""
    try:
        current_app.send_task(WAKE_DUE, expires=_EXPIRES, retry=False, ignore_result=True)
    except Exception as error:
        _log.warning(
            "The broker does not take tasks; the sweep will wake devices", error=str(error)
        )
