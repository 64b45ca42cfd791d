from django.apps import AppConfig


class AuditConfig(AppConfig):
    name = "mdm.audit"
    label = "audit"
