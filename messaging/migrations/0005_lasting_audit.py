from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("messaging", "0004_lean_indexes"),
    ]

    operations = [
        migrations.AlterField(
            model_name="contentaccess",
            name="message",
            field=models.UUIDField(null=True, db_index=True, db_column="messageId"),
        ),
        migrations.RenameField(model_name="contentaccess", old_name="message", new_name="message_id"),
    ]
