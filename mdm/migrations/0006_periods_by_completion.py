import django.contrib.postgres.indexes
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("mdm", "0005_views"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="enrollmentperiod",
            index=django.contrib.postgres.indexes.BrinIndex(
                autosummarize=True,
                fields=["completed_at"],
                name="period_completed",
                pages_per_range=16,
            ),
        ),
    ]
