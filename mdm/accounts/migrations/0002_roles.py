import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import mdm.accounts.models

ROLES = [
    ("viewer", "Viewer"),
    ("helper", "Helper"),
    ("operator", "Operator"),
    ("approver", "Approver"),
    ("admin", "Admin"),
]


def keep_what_everyone_may(apps, schema_editor):
    """Until now everyone might do everything, and a token what its scopes said."""
    User = apps.get_model("accounts", "User")
    Grant = apps.get_model("accounts", "Grant")
    Grant.objects.bulk_create(
        Grant(user=user, role="admin", given_by="upgrade") for user in User.objects.all()
    )
    for token in apps.get_model("accounts", "ApiToken").objects.all():
        token.role = "admin" if "write" in token.scopes else "viewer"
        token.save(update_fields=["role"])


class Migration(migrations.Migration):
    dependencies = [
        ("mdm", "0004_groups"),
        ("accounts", "0001_initial"),
    ]

    operations = [
        migrations.AlterModelManagers(
            name="user", managers=[("objects", mdm.accounts.models.PeopleManager())]
        ),
        migrations.CreateModel(
            name="Grant",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("role", models.CharField(choices=ROLES, max_length=10)),
                ("also", models.JSONField(db_default=[], default=list)),
                ("reason", models.CharField(blank=True, db_default="", max_length=200)),
                (
                    "given_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("given_by", models.CharField(max_length=200)),
                ("expires_at", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField(null=True)),
                ("ended_by", models.CharField(blank=True, db_default="", max_length=200)),
                (
                    "group",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="grants",
                        to="mdm.group",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="grants",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="apitoken",
            name="role",
            field=models.CharField(choices=ROLES, max_length=10, default="viewer"),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="apitoken",
            name="group",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="tokens",
                to="mdm.group",
            ),
        ),
        migrations.RunPython(keep_what_everyone_may, migrations.RunPython.noop),
        migrations.RemoveField(model_name="apitoken", name="scopes"),
    ]
