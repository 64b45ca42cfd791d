from django.apps import AppConfig


class WebhooksConfig(AppConfig):
    name = "mdm.webhooks"
    label = "webhooks"
