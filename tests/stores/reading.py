"""Reads tables straight from a database, past all of Parley, the same way on each store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg
from pymongo import MongoClient


@contextmanager
def _sql(url: str) -> Iterator[Any]:
    parts = urlsplit(url)
    made: Any = sqlite3.connect(parts.path) if parts.scheme == "sqlite" else psycopg.connect(url)
    with closing(made) as connection:
        yield connection


def _is_mongodb(url: str) -> bool:
    return urlsplit(url).scheme.startswith("mongodb")


def tables(url: str) -> list[str]:
    """Return the names of all tables or collections."""
    if _is_mongodb(url):
        with MongoClient[dict[str, Any]](url) as client:
            return client.get_default_database().list_collection_names()
    catalogue = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table'",
        "postgres": "SELECT tablename FROM pg_tables WHERE schemaname = 'public'",
    }
    with _sql(url) as connection:
        return [name for (name,) in connection.execute(catalogue[urlsplit(url).scheme]).fetchall()]


def rows(url: str, table: str) -> list[dict[str, Any]]:
    """Return every row of a table: values as the driver gives them, by the names of their columns."""
    if _is_mongodb(url):
        with MongoClient[dict[str, Any]](url) as client:
            return list(client.get_default_database()[table].find())
    with _sql(url) as connection:
        cursor = connection.execute(f'SELECT * FROM "{table}"')
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
