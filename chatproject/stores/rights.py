"""Writes down who may do what in the administration, and its log, in words that mean the same in every store.

Django's own tables have keys that differ between the stores: numbers in SQL, ObjectIds in MongoDB. So they are not
copied row by row, but by names: `manage.py staff_rights dump` in the one configuration, `load` in the other. What is
not in it: the administrators' sign-ins (they sign in again), and content types and permissions, which `migrate` makes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from bisect import insort
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType

from chatproject import db
from chatproject.env import BASE_DIR, of_child
from chatproject.stores.places import StoreProblem
from chatproject.times import rfc3339
from realtime.diagnosis.findings import first_line

BATCH = 500

Line = dict[str, Any]


def dump() -> Iterator[Line]:
    """Yield the groups, the rights of people, and the log of the administration."""
    names = {one.pk: name for name, one in _permissions().items()}
    groups = dict(Group.objects.order_by("name").values_list("pk", "name"))
    of_groups = _linked(Group.permissions.through, "group_id", "permission_id", names)
    for pk, name in groups.items():
        yield {"kind": "group", "name": name, "permissions": of_groups[pk]}
    people: Any = get_user_model()
    in_groups = _linked(people.groups.through, "user_id", "group_id", groups)
    own = _linked(people.user_permissions.through, "user_id", "permission_id", names)
    for pk in sorted({*in_groups, *own}):
        yield {"kind": "person", "id": str(pk), "groups": in_groups[pk], "permissions": own[pk]}
    yield from _log()


def _log() -> Iterator[Line]:
    types = {one.pk: name for name, one in _types().items()}
    for entry in LogEntry.objects.order_by("action_time", "pk").iterator(chunk_size=BATCH):
        yield {
            "kind": "log",
            "at": rfc3339(entry.action_time),
            "person": str(entry.user_id),
            "type": types.get(entry.content_type_id) if entry.content_type_id else None,
            "object": entry.object_id,
            "name": entry.object_repr,
            "action": entry.action_flag,
            "change": entry.change_message,
        }


def _linked(through: Any, owner: str, other: str, names: dict[Any, str]) -> defaultdict[Any, list[str]]:
    """Return the sorted names of what each owner is linked to; without a join, which MongoDB is slow at."""
    found: defaultdict[Any, list[str]] = defaultdict(list)
    for owner_key, other_key in through._default_manager.values_list(owner, other):
        insort(found[owner_key], names[other_key])
    return found


def _permissions() -> dict[str, Permission]:
    types = {one.pk: name for name, one in _types().items()}
    return {f"{types[one.content_type_id]}.{one.codename}": one for one in Permission.objects.all()}


def _types() -> dict[str, Any]:
    return {f"{one.app_label}.{one.model}": one for one in ContentType.objects.all()}


def load(lines: Iterable[Line]) -> int:
    """Put these in the place of all rights and log entries that are there, in one transaction; return how many."""
    db.freezing.exempt_process()
    people: Any = get_user_model()
    permissions, types, groups = _permissions(), _types(), {}
    count = 0
    with db.atomic():
        _clear()
        for line in lines:
            count += 1
            if line["kind"] == "log":
                _load_entry(line, types)
                continue
            held = [permissions[name].pk for name in line["permissions"] if name in permissions]
            if line["kind"] == "group":
                group = groups[line["name"]] = Group.objects.create(name=line["name"])
                _link(Group.permissions.through, {"group_id": group.pk}, "permission_id", held)
            else:
                person = {"user_id": UUID(line["id"])}
                _link(people.groups.through, person, "group_id", [groups[name].pk for name in line["groups"]])
                _link(people.user_permissions.through, person, "permission_id", held)
    return count


def _link(through: Any, owner: dict[str, Any], other: str, keys: Iterable[Any]) -> None:
    through._default_manager.bulk_create(through(**owner, **{other: key}) for key in keys)


def _clear() -> None:
    people = get_user_model()
    LogEntry.objects.all().delete()
    for relation in (people.groups, people.user_permissions):
        relation.through._default_manager.all().delete()
    Group.objects.all().delete()


def _load_entry(line: Line, types: dict[str, Any]) -> None:
    LogEntry.objects.create(
        action_time=datetime.fromisoformat(line["at"]),
        user_id=line["person"],
        content_type=types.get(line["type"]),
        object_id=line["object"],
        object_repr=line["name"],
        action_flag=line["action"],
        change_message=line["change"],
    )


# --- In processes of their own: which keys Django's apps have is settled when a process starts ------------------------


def dump_of(url: str) -> list[str]:
    """Return the lines of a store: groups, then people, then the log. Raises `StoreProblem`."""
    return _manage(url, "dump").splitlines()


def alike(lines: Iterable[str], others: Iterable[str]) -> bool:
    """Tell whether these are the same; entries of one millisecond may come in another order."""
    return sorted(lines) == sorted(others)


def load_into(url: str, lines: Iterable[str]) -> None:
    """Load lines into a store. Raises `StoreProblem`."""
    _manage(url, "load", text="".join(f"{line}\n" for line in lines))


def as_text(line: Line) -> str:
    """Return a line as it is passed on."""
    return json.dumps(line, sort_keys=True, ensure_ascii=False)


def _manage(url: str, what: str, text: str = "") -> str:
    done = subprocess.run(  # noqa: S603  our own command
        [sys.executable, str(BASE_DIR / "manage.py"), "staff_rights", what],
        env=of_child(DATABASE_URL=url),
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
        raise StoreProblem(f"The rights of administrators could not be copied: {first_line(Exception(reason))}")
    return done.stdout
