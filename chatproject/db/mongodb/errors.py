"""Turns what MongoDB's driver raises into Django's errors."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from django.db import DatabaseError
from django_mongodb_backend.query import wrap_database_errors
from pymongo.errors import BulkWriteError

P = ParamSpec("P")
T = TypeVar("T")


def raising_djangos(function: Callable[P, T]) -> Callable[P, T]:
    """Return the function with Django's errors, also where the backend lets the driver's pass: of no majority."""
    wrapped: Callable[P, T] = wrap_database_errors(function)

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return wrapped(*args, **kwargs)
        except BulkWriteError as error:
            raise DatabaseError(str(error)) from error

    return run
