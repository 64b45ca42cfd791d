"""Run as the server's process: the beat, its clock moved. Only the sync with ABM may be due, and it
was sent so many seconds ago as each argument says; writes which tasks are sent for each."""

from __future__ import annotations

import json
import os
import sys
from datetime import timedelta

import django


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mdm.settings")
    django.setup()

    from celery.beat import ScheduleEntry, Scheduler

    from mdm.celery import app

    sent: list[list[str]] = []

    class Told(Scheduler):
        def apply_async(self, entry: ScheduleEntry, *given: object, **more: object) -> object:
            sent[-1].append(entry.task)
            return super().apply_async(entry, *given, **more)

    for seconds in map(float, sys.argv[1:]):
        scheduler, now = Told(app), app.now()
        for entry in scheduler.schedule.values():
            entry.last_run_at = now
        moved = scheduler.schedule["sync with ABM"]
        moved.last_run_at = now - timedelta(seconds=seconds)
        sent.append([])
        scheduler.tick()
    print(json.dumps(sent))


if __name__ == "__main__":
    main()
