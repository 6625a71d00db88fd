"""The contrib apps as MongoDB needs them: with ObjectIds as their automatic keys (settings choose by the database)."""

from __future__ import annotations

from django.contrib.admin.apps import AdminConfig
from django.contrib.auth.apps import AuthConfig
from django.contrib.contenttypes.apps import ContentTypesConfig

OBJECT_ID = "django_mongodb_backend.fields.ObjectIdAutoField"


class MongoAdminConfig(AdminConfig):
    """`django.contrib.admin`."""

    default_auto_field = OBJECT_ID


class MongoAuthConfig(AuthConfig):
    """`django.contrib.auth`."""

    default_auto_field = OBJECT_ID


class MongoContentTypesConfig(ContentTypesConfig):
    """`django.contrib.contenttypes`."""

    default_auto_field = OBJECT_ID


APPS = {
    "django.contrib.admin": f"{__name__}.MongoAdminConfig",
    "django.contrib.auth": f"{__name__}.MongoAuthConfig",
    "django.contrib.contenttypes": f"{__name__}.MongoContentTypesConfig",
}
"""What stands in INSTALLED_APPS on MongoDB in place of the app's own configuration."""
UNMIGRATED = ("admin", "auth", "contenttypes", "sessions")
"""Their own migrations have integer keys; `migrate` makes their collections from the models instead."""
