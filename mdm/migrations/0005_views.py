import django.contrib.postgres.indexes
import django.db.models.deletion
import django.db.models.functions.datetime
import django.db.models.functions.text
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("mdm", "0004_groups"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="NamedView",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("table", models.CharField(max_length=50)),
                ("name", models.CharField(blank=True, max_length=60)),
                ("query", models.CharField(blank=True, max_length=1000)),
                ("hidden", models.JSONField(db_default=[], default=list)),
                ("shared", models.BooleanField(db_default=False, default=False)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
            ],
            options={
                "ordering": ["name", "id"],
            },
        ),
        migrations.AddIndex(
            model_name="device",
            index=models.Index(fields=["os_version"], name="device_os_version"),
        ),
        migrations.AddIndex(
            model_name="enrollment",
            index=django.contrib.postgres.indexes.GinIndex(
                django.contrib.postgres.indexes.OpClass("user_short_name", name="gin_trgm_ops"),
                django.contrib.postgres.indexes.OpClass("user_long_name", name="gin_trgm_ops"),
                condition=models.Q(("parent__isnull", False)),
                name="enrollment_user_search",
            ),
        ),
        migrations.AddField(
            model_name="namedview",
            name="owner",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="views",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddIndex(
            model_name="namedview",
            index=models.Index(
                condition=models.Q(("shared", True)), fields=["table"], name="named_view_shared"
            ),
        ),
        migrations.AddConstraint(
            model_name="namedview",
            constraint=models.UniqueConstraint(
                models.F("owner"),
                models.F("table"),
                django.db.models.functions.text.Lower("name"),
                name="named_view_once",
            ),
        ),
    ]
