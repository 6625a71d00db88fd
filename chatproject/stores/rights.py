"""Writes down who may do what in the administration, and its log, in words that mean the same in every store.

Django's own tables have keys that differ between the stores: numbers in SQL, ObjectIds in MongoDB. So they are not
copied row by row, but by names: `manage.py staff_rights dump` in the one configuration, `load` in the other. What is
not in it: the administrators' sign-ins (they sign in again), and content types and permissions, which `migrate` makes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from bisect import insort
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import datetime
from hashlib import sha256
from itertools import chain, islice
from typing import IO, Any, Self
from uuid import UUID

from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType

from chatproject import db
from chatproject.env import BASE_DIR, of_child
from chatproject.stores.claims import Hold, held
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
    for entry in LogEntry.objects.order_by("pk").iterator(chunk_size=BATCH):
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
        if name := names.get(other_key):  # not one that was made, or on MongoDB deleted, beside this reading
            insort(found[owner_key], name)
    return found


def _permissions() -> dict[str, Permission]:
    types = {one.pk: name for name, one in _types().items()}
    return {f"{types[one.content_type_id]}.{one.codename}": one for one in Permission.objects.all()}


def _types() -> dict[str, Any]:
    return {f"{one.app_label}.{one.model}": one for one in ContentType.objects.all()}


def load(lines: Iterable[Line], *, hold: Hold) -> None:
    """Put these in the place of all rights and log entries that are there; each transaction begins with `hold`.

    A transaction has at most `BATCH` entries of the log, however many there are: MongoDB ends one that takes long. So
    what is killed halfway has to be loaded again.
    """
    db.freezing.exempt_process()
    types = _types()
    rights, log = _parted(lines)
    while keys := list(LogEntry.objects.order_by("pk").values_list("pk", flat=True)[:BATCH]):
        with held(hold):
            LogEntry.objects.filter(pk__in=keys).delete()
    with held(hold):
        _load_rights(rights)
    for some in _batches(log):
        with held(hold):
            LogEntry.objects.bulk_create(_entry(line, types) for line in some)


def _parted(lines: Iterable[Line]) -> tuple[list[Line], Iterator[Line]]:
    """Return the groups and people, which are few, and what yields the log, which comes after them."""
    rest = iter(lines)
    rights: list[Line] = []
    for line in rest:
        if line["kind"] == "log":
            return rights, chain([line], rest)
        rights.append(line)
    return rights, rest


def _batches(lines: Iterator[Line]) -> Iterator[list[Line]]:
    while some := list(islice(lines, BATCH)):
        yield some


def _load_rights(lines: Iterable[Line]) -> None:
    people: Any = get_user_model()
    permissions, groups = _permissions(), {}
    for relation in (people.groups, people.user_permissions):
        relation.through._default_manager.all().delete()
    Group.objects.all().delete()
    for line in lines:
        held = [permissions[name].pk for name in line["permissions"] if name in permissions]
        if line["kind"] == "group":
            group = groups[line["name"]] = Group.objects.create(name=line["name"])
            _link(Group.permissions.through, {"group_id": group.pk}, "permission_id", held)
        else:
            person = {"user_id": UUID(line["id"])}
            _link(people.groups.through, person, "group_id", [groups[name].pk for name in line["groups"]])
            _link(people.user_permissions.through, person, "permission_id", held)


def _link(through: Any, owner: dict[str, Any], other: str, keys: Iterable[Any]) -> None:
    through._default_manager.bulk_create(through(**owner, **{other: key}) for key in keys)


def _entry(line: Line, types: dict[str, Any]) -> LogEntry:
    return LogEntry(
        action_time=datetime.fromisoformat(line["at"]),
        user_id=UUID(line["person"]),
        content_type=types.get(line["type"]),
        object_id=line["object"],
        object_repr=line["name"],
        action_flag=line["action"],
        change_message=line["change"],
    )


# --- In processes of their own: which keys Django's apps have is settled when a process starts ------------------------


def alike(url: str, other: str) -> bool:
    """Tell whether two stores have the same groups, rights and log. Raises `StoreProblem`."""
    with _Children() as children:
        outputs = [children.start(one, "dump") for one in (url, other)]
        digests = [_digest(output) for output in outputs]
    return digests[0] == digests[1]


def _digest(lines: Iterable[bytes]) -> tuple[int, int]:
    """Return the number of lines, and a sum of their hashes: entries of one millisecond may come in any order."""
    count, total = 0, 0
    for line in lines:
        count += 1
        total = (total + int.from_bytes(sha256(line).digest())) % 2**256
    return count, total


def carry(from_url: str, to_url: str, *, run: str) -> None:
    """Load the one store's into the other, in the name of a run of `store_copy`. Raises `StoreProblem`."""
    with _Children() as children:
        lines = children.start(from_url, "dump")
        children.start(to_url, "load", "--run", run, lines=lines)


def as_text(line: Line) -> str:
    """Return a line as it is passed on."""
    return json.dumps(line, sort_keys=True, ensure_ascii=False)


class _Children:
    """Runs `staff_rights` for other configurations; all have ended well at the end, or `StoreProblem` is raised."""

    def __enter__(self) -> Self:
        self._resources = ExitStack()
        self._running: list[tuple[subprocess.Popen[bytes], IO[bytes]]] = []
        return self

    def start(self, url: str, *arguments: str, lines: IO[bytes] | None = None) -> IO[bytes]:
        """Start one, which reads these lines; return those that it writes."""
        said = self._resources.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        child = subprocess.Popen(  # noqa: S603  our own command
            [sys.executable, str(BASE_DIR / "manage.py"), "staff_rights", *arguments],
            env=of_child(DATABASE_URL=url),
            stdin=lines or subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
        )
        self._resources.enter_context(child)
        self._running.append((child, said))
        if lines:
            lines.close()  # it is the child's now: should that end early, whoever writes them is told
        return child.stdout  # type: ignore[return-value]

    def __exit__(self, kind: object, *_: object) -> None:
        with self._resources:
            for child, said in reversed(self._running):
                if kind is not None:
                    child.kill()
                if child.wait() and kind is None:
                    said.seek(0)
                    reason = (said.read().decode(errors="replace").strip() or "no reason given").splitlines()[-1]
                    raise StoreProblem(
                        f"The rights of administrators could not be copied: {first_line(Exception(reason))}"
                    )
