from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "mdm.accounts"
    label = "accounts"
