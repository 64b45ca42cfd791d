import django.contrib.postgres.indexes
from django.contrib.postgres.operations import TrigramExtension
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        TrigramExtension(),
        migrations.CreateModel(
            name="Device",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("serial_number", models.CharField(blank=True, max_length=255, null=True)),
                ("udid", models.CharField(blank=True, max_length=255, verbose_name="UDID")),
                (
                    "platform",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("iOS", "Ios"),
                            ("iPadOS", "Ipados"),
                            ("macOS", "Macos"),
                            ("tvOS", "Tvos"),
                            ("visionOS", "Visionos"),
                            ("watchOS", "Watchos"),
                        ],
                        max_length=10,
                    ),
                ),
                ("device_name", models.CharField(blank=True, max_length=255)),
                ("product_name", models.CharField(blank=True, max_length=255)),
                ("model", models.CharField(blank=True, max_length=255)),
                ("model_name", models.CharField(blank=True, max_length=255)),
                (
                    "os_version",
                    models.CharField(blank=True, max_length=64, verbose_name="OS version"),
                ),
                ("build_version", models.CharField(blank=True, max_length=64)),
                ("imei", models.CharField(blank=True, max_length=64, verbose_name="IMEI")),
                ("meid", models.CharField(blank=True, max_length=64, verbose_name="MEID")),
                ("supervised", models.BooleanField(null=True)),
                ("shared_ipad", models.BooleanField(null=True, verbose_name="Shared iPad")),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("retired_at", models.DateTimeField(blank=True, null=True)),
            ],
        ),
        migrations.CreateModel(
            name="Enrollment",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("key", models.CharField(max_length=600)),
                (
                    "kind",
                    models.CharField(
                        choices=[("device", "Device"), ("user_enrollment", "User Enrollment")],
                        max_length=16,
                    ),
                ),
                (
                    "channel",
                    models.CharField(
                        choices=[
                            ("device", "Device"),
                            ("user", "User"),
                            ("shared_ipad_user", "Shared Ipad User"),
                        ],
                        max_length=16,
                    ),
                ),
                ("device_identifier", models.CharField(max_length=255)),
                ("user_identifier", models.CharField(blank=True, db_default="", max_length=255)),
                ("user_short_name", models.CharField(blank=True, db_default="", max_length=255)),
                ("user_long_name", models.CharField(blank=True, db_default="", max_length=255)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("Authenticated", "Awaiting TokenUpdate"),
                            ("Enrolled", "Enrolled"),
                            ("CheckedOut", "Checked out"),
                            ("Erased", "Erased"),
                            ("Released", "Released"),
                        ],
                        max_length=16,
                    ),
                ),
                ("identity_sha256", models.BinaryField(null=True)),
                ("access_rights", models.IntegerField(null=True)),
                ("awaiting_configuration", models.BooleanField(db_default=False, default=False)),
                ("not_on_console", models.BooleanField(db_default=False, default=False)),
                ("authenticated_at", models.DateTimeField(null=True)),
                ("enrolled_at", models.DateTimeField(null=True)),
                ("checked_out_at", models.DateTimeField(null=True)),
                ("erased_at", models.DateTimeField(null=True)),
                ("released_at", models.DateTimeField(null=True)),
                ("last_seen_at", models.DateTimeField(null=True)),
                ("inventory_asked_at", models.DateTimeField(null=True)),
                ("topic", models.CharField(blank=True, max_length=255)),
                ("push_magic", models.CharField(blank=True, db_default="", max_length=255)),
                ("sealed_push_token", models.BinaryField(null=True)),
                ("token_updated_at", models.DateTimeField(null=True)),
                ("wake_at", models.DateTimeField(null=True)),
                ("wake_attempts", models.SmallIntegerField(db_default=0, default=0)),
                ("pushed_at", models.DateTimeField(null=True)),
                ("push_problem", models.CharField(blank=True, db_default="", max_length=100)),
                ("push_problem_at", models.DateTimeField(null=True)),
                (
                    "device",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="enrollments",
                        to="mdm.device",
                    ),
                ),
                (
                    "parent",
                    models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="users",
                        to="mdm.enrollment",
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="device",
            name="enrollment",
            field=models.ForeignKey(
                blank=True,
                db_constraint=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="current_for",
                to="mdm.enrollment",
            ),
        ),
        migrations.CreateModel(
            name="CheckinMessage",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("message_type", models.CharField(max_length=40)),
                ("received_at", models.DateTimeField()),
                ("body", models.BinaryField()),
                (
                    "enrollment",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="messages",
                        to="mdm.enrollment",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="EnrollmentPeriod",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("began_at", models.DateTimeField()),
                ("completed_at", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField(null=True)),
                ("ended_by", models.CharField(blank=True, max_length=16)),
                ("identity_sha256", models.BinaryField(null=True)),
                (
                    "enrollment",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="periods",
                        to="mdm.enrollment",
                    ),
                ),
            ],
            options={
                "ordering": ["id"],
            },
        ),
        migrations.AddField(
            model_name="enrollment",
            name="period",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="mdm.enrollmentperiod",
            ),
        ),
        migrations.CreateModel(
            name="Escrow",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("UnlockToken", "Unlock Token"),
                            ("BootstrapToken", "Bootstrap Token"),
                        ],
                        max_length=20,
                    ),
                ),
                ("sealed", models.BinaryField()),
                ("received_at", models.DateTimeField()),
                (
                    "enrollment",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="escrow",
                        to="mdm.enrollment",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="Identity",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("sha256", models.BinaryField(unique=True)),
                ("certificate", models.BinaryField()),
                ("binding", models.TextField()),
                (
                    "issued_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("expires_at", models.DateTimeField()),
                ("revoked_at", models.DateTimeField(null=True)),
                ("access_rights", models.IntegerField(null=True)),
                (
                    "enrollment",
                    models.ForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="identities",
                        to="mdm.enrollment",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="InventorySection",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("section", models.CharField(max_length=40)),
                ("data", models.JSONField()),
                ("item_count", models.IntegerField(default=0)),
                ("truncated", models.BooleanField(default=False)),
                ("reported_at", models.DateTimeField()),
                (
                    "enrollment",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="inventory",
                        to="mdm.enrollment",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="PushCertificate",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("topic", models.CharField(max_length=255)),
                ("certificate", models.TextField(verbose_name="certificate (PEM)")),
                ("sealed_key", models.BinaryField()),
                ("serial", models.CharField(max_length=80)),
                ("not_before", models.DateTimeField()),
                ("not_after", models.DateTimeField()),
                (
                    "uploaded_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("active", models.BooleanField(default=True)),
                ("problem", models.CharField(blank=True, max_length=200)),
                ("problem_at", models.DateTimeField(null=True)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("active", True)),
                        fields=("active",),
                        name="push_certificate_in_use",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Quarantine",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("enrollment_key", models.CharField(max_length=600)),
                ("serial_number", models.CharField(blank=True, max_length=255)),
                ("identity_sha256", models.BinaryField()),
                ("certificate", models.BinaryField()),
                ("binding", models.TextField(blank=True)),
                ("reason", models.CharField(max_length=60)),
                ("body", models.BinaryField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("Waiting", "Waiting"),
                            ("Accepted", "Accepted"),
                            ("Rejected", "Rejected"),
                            ("Used", "Used"),
                        ],
                        default="Waiting",
                        max_length=10,
                    ),
                ),
                ("first_at", models.DateTimeField()),
                ("last_at", models.DateTimeField()),
                ("count", models.IntegerField(default=1)),
                ("decided_at", models.DateTimeField(null=True)),
                ("decided_by", models.CharField(blank=True, max_length=200)),
            ],
            options={
                "indexes": [
                    models.Index(fields=["state", "-last_at"], name="mdm_quarant_state_e799b7_idx")
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("enrollment_key", "identity_sha256"), name="quarantine_once"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Refusal",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("reason", models.CharField(max_length=60)),
                ("hour", models.DateTimeField()),
                ("count", models.IntegerField()),
                ("last_at", models.DateTimeField()),
                ("last_address", models.CharField(blank=True, max_length=64)),
                ("last_detail", models.CharField(blank=True, max_length=300)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("reason", "hour"), name="refusal_by_hour")
                ],
            },
        ),
        migrations.AddIndex(
            model_name="device",
            index=models.Index(fields=["udid"], name="device_udid"),
        ),
        migrations.AddIndex(
            model_name="device",
            index=django.contrib.postgres.indexes.GinIndex(
                django.contrib.postgres.indexes.OpClass("serial_number", name="gin_trgm_ops"),
                django.contrib.postgres.indexes.OpClass("device_name", name="gin_trgm_ops"),
                django.contrib.postgres.indexes.OpClass("udid", name="gin_trgm_ops"),
                django.contrib.postgres.indexes.OpClass("model_name", name="gin_trgm_ops"),
                name="device_search",
            ),
        ),
        migrations.AddConstraint(
            model_name="device",
            constraint=models.UniqueConstraint(
                fields=("serial_number",), name="device_serial_once"
            ),
        ),
        migrations.AddIndex(
            model_name="enrollment",
            index=models.Index(
                condition=models.Q(("parent__isnull", False)),
                fields=["parent"],
                name="enrollment_users",
            ),
        ),
        migrations.AddIndex(
            model_name="enrollment",
            index=models.Index(
                condition=models.Q(("state", "Enrolled"), _negated=True),
                fields=["state"],
                name="enrollment_rare_state",
            ),
        ),
        migrations.AddIndex(
            model_name="enrollment",
            index=models.Index(
                condition=models.Q(("wake_at__isnull", False)),
                fields=["wake_at"],
                name="enrollment_wake",
            ),
        ),
        migrations.AddIndex(
            model_name="enrollment",
            index=models.Index(
                condition=models.Q(("inventory_asked_at__isnull", True), ("state", "Enrolled")),
                fields=["id"],
                name="enrollment_inventory_due",
            ),
        ),
        migrations.AddConstraint(
            model_name="enrollment",
            constraint=models.UniqueConstraint(fields=("key",), name="enrollment_key_once"),
        ),
        migrations.AddConstraint(
            model_name="escrow",
            constraint=models.UniqueConstraint(
                fields=("enrollment", "kind"), name="escrow_one_of_a_kind"
            ),
        ),
        migrations.AddConstraint(
            model_name="inventorysection",
            constraint=models.UniqueConstraint(
                fields=("enrollment", "section"), name="inventory_section_once"
            ),
        ),
    ]
