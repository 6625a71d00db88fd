from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("stores", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="freeze",
            name="moved_to",
            field=models.CharField(blank=True, db_column="movedTo", default="", max_length=500),
        ),
        migrations.AddField(
            model_name="freeze",
            name="run",
            field=models.CharField(blank=True, default="", max_length=32),
        ),
        migrations.AddField(
            model_name="freeze",
            name="transactions",
            field=models.IntegerField(default=0),
        ),
    ]
