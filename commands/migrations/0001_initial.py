import django.db.models.deletion
import django.db.models.functions.datetime
import uuid
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("mdm", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="Command",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "uuid",
                    models.UUIDField(default=uuid.uuid4, unique=True, verbose_name="CommandUUID"),
                ),
                ("request_type", models.CharField(db_index=True, max_length=60)),
                ("parameters", models.JSONField(default=dict)),
                ("destructive", models.BooleanField(default=False)),
                ("asked_by", models.CharField(max_length=200)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Payload",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("sealed", models.BinaryField()),
                (
                    "command",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="payloads",
                        to="commands.command",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="QueueEntry",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("command_uuid", models.UUIDField(verbose_name="CommandUUID")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("Queued", "Queued"),
                            ("Sent", "Sent"),
                            ("NotNow", "Not Now"),
                            ("Acknowledged", "Acknowledged"),
                            ("Error", "Error"),
                            ("CommandFormatError", "Command Format Error"),
                            ("Cancelled", "Cancelled"),
                            ("Expired", "Expired"),
                        ],
                        default="Queued",
                        max_length=20,
                    ),
                ),
                ("priority", models.SmallIntegerField(default=0)),
                ("coalesce_key", models.CharField(max_length=60, null=True)),
                ("sealed_payload", models.BinaryField(null=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("expires_at", models.DateTimeField(null=True)),
                ("sent_at", models.DateTimeField(null=True)),
                ("deliveries", models.SmallIntegerField(db_default=0, default=0)),
                ("not_now_at", models.DateTimeField(null=True)),
                ("not_now_count", models.SmallIntegerField(db_default=0, default=0)),
                ("finished_at", models.DateTimeField(null=True)),
                ("ended_because", models.CharField(blank=True, db_default="", max_length=200)),
                (
                    "command",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="entries",
                        to="commands.command",
                    ),
                ),
                (
                    "enrollment",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="queue",
                        to="mdm.enrollment",
                    ),
                ),
                (
                    "payload",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="commands.payload",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["command", "id"], name="queue_entry_of_command"),
                    models.Index(
                        models.F("enrollment"),
                        models.OrderBy(models.F("priority"), descending=True),
                        models.F("id"),
                        condition=models.Q(("finished_at__isnull", True)),
                        name="queue_entry_next",
                    ),
                    models.Index(
                        condition=models.Q(
                            ("expires_at__isnull", False), ("finished_at__isnull", True)
                        ),
                        fields=["expires_at"],
                        name="queue_entry_expiring",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("enrollment", "command_uuid"), name="queue_entry_command_once"
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("finished_at__isnull", True)),
                        fields=("enrollment", "coalesce_key"),
                        name="queue_entry_coalesced",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Reply",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("command_uuid", models.UUIDField(verbose_name="CommandUUID")),
                ("status", models.CharField(max_length=20)),
                ("error_chain", models.JSONField(null=True)),
                ("sealed_body", models.BinaryField()),
                (
                    "received_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("drained_at", models.DateTimeField(null=True)),
                (
                    "enrollment",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="replies",
                        to="mdm.enrollment",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("drained_at__isnull", True)),
                        fields=["id"],
                        name="reply_undrained",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("enrollment", "command_uuid"), name="reply_once"
                    )
                ],
            },
        ),
    ]
