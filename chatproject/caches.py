"""Writes cached values to Redis as JSON: Django's own form is pickle, and unpickling runs what somebody put there."""

from __future__ import annotations

import json
from typing import Any

from redis.exceptions import DataError


class JsonSerializer:
    """A serializer for Django's Redis cache (its option `serializer`); integers stay as they are, for `incr`."""

    def dumps(self, value: Any) -> int | bytes:
        """Return what Redis stores. Raises `TypeError` for what JSON does not know."""
        return value if type(value) is int else json.dumps(value).encode()

    def loads(self, stored: bytes) -> Any:
        """Return the value. Raises `DataError`, a `RedisError`, for what `dumps` has not written."""
        try:
            return json.loads(stored)
        except ValueError as error:
            raise DataError("The cache holds a value that is no JSON.") from error
