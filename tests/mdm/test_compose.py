"""Production's processes, as docker-compose.yml starts them, do all that there is to do."""

from __future__ import annotations

import yaml
from django.conf import settings

from mdm.settings import BASE_DIR

DEFAULT = "celery"


def test_every_queue_of_tasks_has_a_worker():
    services = yaml.safe_load((BASE_DIR / "docker-compose.yml").read_text())["services"]
    commands = [each.get("command") for each in services.values()]
    workers = [each for each in commands if isinstance(each, list) and "worker" in each]

    served = {command[command.index("--queues") + 1] for command in workers}

    assert served == {DEFAULT, *(route["queue"] for route in settings.CELERY_TASK_ROUTES.values())}
