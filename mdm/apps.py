"""The core app. Importing the Celery app here makes every process publish to the same broker."""

from django.apps import AppConfig

from mdm import celery


class MdmConfig(AppConfig):
    name = "mdm"
    verbose_name = "MDM"
    celery = celery.app

    def ready(self) -> None:
        from mdm.pages import registered

        registered.register()
