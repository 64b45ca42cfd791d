from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class AccountsConfig(AppConfig):
    name = "mdm.accounts"
    label = "accounts"

    def ready(self) -> None:
        from mdm.accounts import first_admin, own, social

        def on_migrated(**_: Any) -> None:
            first_admin.announce()

        post_migrate.connect(on_migrated, sender=self, weak=False)
        social.listen()
        own.listen()
