import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_roles"),
    ]

    operations = [
        migrations.AddField(
            model_name="user",
            name="trusted_since",
            field=models.DateTimeField(default=django.utils.timezone.now),
        ),
    ]
