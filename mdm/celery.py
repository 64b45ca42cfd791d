"""The Celery app; the beat schedule stands in settings, the tasks in each app's `tasks.py`."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mdm.settings")

app = Celery("guardmdm")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
