"""Where Django finds the backend that `chatproject.databases` names."""

from __future__ import annotations

import sqlite3
from functools import cached_property

from django.db.backends.sqlite3 import base, features


class DatabaseFeatures(features.DatabaseFeatures):
    """Has as many values in a statement as the SQLite at hand takes."""

    @cached_property
    def max_query_params(self) -> int:  # type: ignore[override]
        """Return how many: 32,766 since SQLite 3.32 unless it was built for more; Django 5.2 counts on 999 of before.

        With those, `bulk_create` would insert a hundred memberships at a time.
        """
        with self.connection.temporary_connection():
            return int(self.connection.connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER))


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection."""

    features_class = DatabaseFeatures
