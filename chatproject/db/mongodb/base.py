"""Where Django finds the backend that `chatproject.databases` names."""

from __future__ import annotations

from django_mongodb_backend import base, operations


class DatabaseOperations(operations.DatabaseOperations):
    """Has queries made by our compilers."""

    compiler_module = "chatproject.db.mongodb.compiler"


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection."""

    ops_class = DatabaseOperations
