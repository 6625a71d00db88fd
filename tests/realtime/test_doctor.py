"""Tests of `manage.py doctor`, run as an operator runs it, on real failures."""

from __future__ import annotations

import base64
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError

from realtime.diagnosis import Finding, Level, examine, worst
from realtime.diagnosis.configuration import settings_in_force
from realtime.diagnosis.databases import reachable, remedy_for
from realtime.diagnosis.findings import Check, fail, first_line, ok, place, warn
from tests.live.server import ROOT, Redis, free_port, make_daphne
from tests.stores.elsewhere import Look

WEAK_KEY = base64.b64encode(b"\x07" * 32).decode()


class Doctor:
    """Runs `doctor --json` on an installation of the test; `report` is the last one, whole."""

    def __init__(self, directory: Path, data_dir: Path) -> None:
        self.directory = directory
        self.data_dir = data_dir
        self.report: dict[str, Any] = {}

    def __call__(self, **environment: str) -> tuple[int, dict[str, dict[str, str]]]:
        """Return the exit code and the worst finding of each part."""
        environment = {"PARLEY_RATE_LIMITS": "on", **environment}
        settings = make_daphne(self.directory, data_dir=self.data_dir, **environment)
        done = subprocess.run(
            [sys.executable, "manage.py", "doctor", "--json"],
            cwd=ROOT,
            env=settings.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        self.report = json.loads(done.stdout)
        assert self.report["status"] in {"ok", "warn", "fail"}, done.stderr
        by_level = sorted(self.report["findings"], key=lambda finding: ["ok", "warn", "FAIL"].index(finding["level"]))
        return done.returncode, {finding["part"]: finding for finding in by_level}


@pytest.fixture
def doctor(tmp_path: Path, migrated_database: Path) -> Doctor:
    """A sound installation."""
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    shutil.copyfile(migrated_database, data_dir / "parley.sqlite3")
    return Doctor(tmp_path, data_dir)


def failed(findings: dict[str, dict[str, str]]) -> set[str]:
    """Return the parts that failed."""
    return {part for part, finding in findings.items() if finding["level"] == "FAIL"}


def test_a_sound_installation(doctor: Doctor, redis_server: Redis) -> None:
    """Nothing fails, and every part is told of."""
    code, findings = doctor(REDIS_URL=redis_server.url)

    assert (code, failed(findings)) == (0, set())
    assert set(findings) == {
        *("configuration", "secrets", "data directory", "database", "durability", "migrations", "master keys"),
        *("redis", "channel layer", "cache", "clock", "redis clock", "web client"),
    }
    assert findings["secrets"]["level"] == "ok"


def test_redis_is_down(doctor: Doctor, tmp_path: Path) -> None:
    """Without `--json` each finding is a line: level, part, message, and what to do.

    One says that Redis is down; what stands on it is not told a second time, and no password is shown.
    """
    url = f"redis://:sesame@127.0.0.1:{free_port()}/0"
    server = make_daphne(tmp_path, data_dir=doctor.data_dir, REDIS_URL=url)

    with pytest.raises(AssertionError) as failure:
        server.manage("doctor")

    lines = [line for line in str(failure.value).splitlines() if line.startswith(("ok   ", "warn ", "FAIL "))]
    [line] = [line for line in lines if line.startswith("FAIL")]
    assert line.startswith("FAIL redis: 127.0.0.1:")
    assert line.endswith("-> start Redis, or correct host and port in REDIS_URL")
    parts = {line[5:].partition(":")[0] for line in lines}
    assert {"configuration", "database", "web client"} <= parts
    assert not {"channel layer", "cache", "redis clock"} & parts
    assert "sesame" not in str(failure.value)


def test_the_database_cannot_be_opened(look_at: Look, tmp_path: Path) -> None:
    """A path that is no file is one line with what to do."""
    (tmp_path / "directory.sqlite3").mkdir()

    [finding] = look_at(f"sqlite:///{tmp_path}/directory.sqlite3", Check("database", reachable))

    assert finding.level is Level.FAIL
    assert "unable to open database file" in finding.message
    assert finding.remedy == "let Parley's user write the file and its directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_the_database_is_read_only(doctor: Doctor) -> None:
    """A file that belongs to somebody else can be read, and not written."""
    (doctor.data_dir / "parley.sqlite3").chmod(0o400)

    code, findings = doctor()

    assert (code, failed(findings)) == (1, {"database"})


def test_a_data_directory_that_takes_no_files(doctor: Doctor) -> None:
    """Then there is no database in it either; both are told, since the database may be elsewhere."""
    code, findings = doctor(PARLEY_DATA_DIR="/proc")

    assert code == 1
    assert failed(findings) == {"data directory", "database"}
    assert not {"durability", "migrations", "master keys"} & set(findings)
    assert findings["data directory"]["message"].startswith("/proc cannot be written")


def test_a_file_that_is_no_database(look_at: Look, tmp_path: Path) -> None:
    """A damaged file is told from one that cannot be opened."""
    (tmp_path / "broken.sqlite3").write_bytes(b"no database at all, only some bytes" * 100)

    [finding] = look_at(f"sqlite:///{tmp_path}/broken.sqlite3", Check("database", reachable))

    assert finding.level is Level.FAIL
    assert "restore a backup" in finding.remedy


def change(doctor: Doctor, statement: str, *values: Any) -> None:
    """Change the installation's database behind Parley's back."""
    with sqlite3.connect(doctor.data_dir / "parley.sqlite3") as database:
        database.execute(statement, values)
    database.close()


def test_an_unapplied_migration(doctor: Doctor) -> None:
    """It is named, with the command that helps."""
    change(doctor, "DELETE FROM django_migrations WHERE app = 'messaging' AND name = '0001_initial'")

    code, findings = doctor()

    assert (code, failed(findings)) == (1, {"migrations"})
    assert "messaging.0001_initial" in findings["migrations"]["message"]
    assert findings["migrations"]["remedy"] == "run: manage.py migrate"


def test_a_newer_schema_and_a_data_directory_that_others_may_read(doctor: Doctor) -> None:
    """Both are warnings, and no failure: the first is a rolling update's, the second has the command that helps."""
    change(
        doctor, "INSERT INTO django_migrations (app, name, applied) VALUES ('messaging', '9999_later', '2026-01-01')"
    )
    doctor.data_dir.chmod(0o755)

    code, findings = doctor()

    assert code == 0
    assert {part for part, finding in findings.items() if finding["level"] == "warn"} == {
        "migrations",
        "data directory",
    }
    assert "messaging.9999_later" in findings["migrations"]["message"]
    assert findings["data directory"]["remedy"].startswith("run: chmod 700 ")


def test_a_missing_master_key(doctor: Doctor) -> None:
    """The ids under which chats are encrypted are named: of a key that is gone, and of one that has become another."""
    now = "2026-01-01 00:00:00"
    for number, key_id in enumerate(("retired", "dev1")):
        chat_id = f"019a00000000700080000000000000{number:02}"
        change(
            doctor,
            'INSERT INTO chats (_id, kind, counter, "lastSeq", activity, roster, "changedAt", "createdAt") '
            "VALUES (?,?,?,?,?,?,?,?)",
            *(chat_id, "group", 0, 0, chat_id, chat_id, now, now),
        )
        change(
            doctor,
            'INSERT INTO chat_keys (_id, "masterKeyId", wrapped, "createdAt") VALUES (?,?,?,?)',
            *(chat_id, key_id, b"\0" * 40, now),
        )

    code, findings = doctor()

    assert (code, failed(findings)) == (1, {"master keys"})
    altered, gone = (one for one in doctor.report["findings"] if one["part"] == "master keys")
    assert "another key for dev1" in altered["remedy"]
    assert "'retired', which is not configured" in gone["message"]
    assert "PARLEY_MASTER_KEYS" in gone["remedy"]


def test_weak_secrets_in_an_open_production(doctor: Doctor) -> None:
    """Short, repetitive and equal secrets fail, and none is shown; that every host name is accepted weighs as much."""
    same = "abcabcabc" * 8
    secrets = {"PARLEY_SECRET_KEY": same, "PARLEY_JWT_KEY": same, "PARLEY_MASTER_KEYS": f"weak:{WEAK_KEY}"}

    code, findings = doctor(
        **secrets, PARLEY_ENV="production", PARLEY_ALLOWED_HOSTS="*", PARLEY_RATE_LIMITS="off", PARLEY_HTTPS="off"
    )

    assert (code, failed(findings)) == (1, {"configuration", "secrets"})
    assert findings["configuration"]["message"] == "every host name is accepted"
    for secret in (same, WEAK_KEY):
        assert secret not in json.dumps(doctor.report)


# --- How checks are run -----------------------------------------------------------------------------------------------


def test_a_check_that_breaks_or_hangs_hides_no_other() -> None:
    """Each is a finding, in time, and the others are run."""

    def hang() -> list[Finding]:
        time.sleep(1)
        return []

    def crash() -> list[Finding]:
        raise RuntimeError("no such luck\nat line 2")

    checks = [
        Check("hanging", hang),
        Check("crashing", crash),
        Check("good", lambda: [ok("good", "there")]),
        Check("dependent", lambda: [ok("dependent", "unknown")], needs="crashing"),
    ]
    started = time.monotonic()

    findings = list(examine(checks, seconds=0.2))

    assert [(one.part, one.level) for one in findings] == [
        ("hanging", Level.FAIL),
        ("crashing", Level.FAIL),
        ("good", Level.OK),
    ]
    assert findings[1].message == "RuntimeError: no such luck"
    assert time.monotonic() - started < 0.9


def test_what_needs_a_part_that_was_not_looked_at_is_passed_over() -> None:
    """One broken part is one line, however long the chain of what stands on it."""
    checks = [
        Check("store", lambda: [fail("store", "away", "start it")]),
        Check("schema", lambda: [ok("schema", "good")], needs="store"),
        Check("rows", lambda: [ok("rows", "good")], needs="schema"),
    ]

    assert [finding.part for finding in examine(checks)] == ["store"]


def test_the_worst_finding_counts() -> None:
    """One failure is a failure, whatever else there is."""
    good, bad, worse = ok("a", ""), warn("b", "", ""), fail("c", "", "")

    assert worst([good]) is Level.OK
    assert worst([good, bad, good]) is Level.WARN
    assert worst([worse, bad, good]) is Level.FAIL


def test_errors_are_short_and_without_credentials() -> None:
    """The first line alone, and of a URL the place alone."""
    assert first_line(ValueError("bad postgres://ada:sesame@db/parley\nmore")) == "bad postgres://db/parley"
    assert first_line(ValueError("bad postgres://ada:ses@me@db/parley")) == "bad postgres://db/parley"
    assert first_line(ValueError("no members, Timeout: 5.0s, Topology Description: <>")) == "no members"
    assert len(first_line(ValueError("x" * 1000))) == 200
    assert place("redis://:sesame@cache:6379/0") == "cache:6379/0"


LOGIN = "correct the user and password in DATABASE_URL"
OWNER = "make the user of DATABASE_URL the owner of its database and tables"
START = "start the database, or correct host and port in DATABASE_URL"
NO_TLS_ENTRY = "admit it in pg_hba.conf, or correct DATABASE_URL; sslmode=require"
AUTHORITY = "name the authority of its certificate in DATABASE_URL"
MORE_CONNECTIONS = "raise max_connections of the database, or run fewer processes"
SET_NAME = "correct replicaSet in DATABASE_URL"
PRIMARY = "name every member of the replica set in DATABASE_URL"
MAJORITY = "start the members of the replica set: a majority has to confirm"
AFTER_A_WAIT = (
    " (configured timeouts: socketTimeoutMS: 5000.0ms, connectTimeoutMS: 5000.0ms), Timeout: 5.0s, Topology "
    "Description: <TopologyDescription id: 6b07, topology_type: ReplicaSetNoPrimary, servers: [<ServerDescription>]>"
)


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ('FATAL: password authentication failed for user "ada"', "correct the user and password in DATABASE_URL"),
        ("bad auth : Authentication failed.", "correct the user and password in DATABASE_URL"),
        # What PostgreSQL 15 says, by libpq.
        ("connection to server failed: fe_sendauth: no password supplied", LOGIN),
        ('FATAL:  role "nologin" is not permitted to log in', LOGIN),
        ('FATAL:  role "ada" does not exist', LOGIN),
        (
            'FATAL:  no pg_hba.conf entry for host "127.0.0.1", user "ada", database "x", SSL encryption\n'
            'FATAL:  no pg_hba.conf entry for host "127.0.0.1", user "ada", database "x", no encryption',
            "admit this user, database and address in pg_hba.conf, or correct DATABASE_URL",
        ),
        ('FATAL:  no pg_hba.conf entry for host "127.0.0.1", user "a", database "x", no encryption', NO_TLS_ENTRY),
        ('FATAL:  pg_hba.conf rejects connection for host "h", user "a", database "x", no encryption', NO_TLS_ENTRY),
        ("server does not support SSL, but SSL was required", "switch TLS on in the database, or leave sslmode out"),
        ("SSL error: certificate verify failed", AUTHORITY),
        ('root certificate file "/root/.postgresql/root.crt" does not exist', AUTHORITY),
        ('server certificate for "a" (and 1 other name) does not match host name "h"', "name the host in DATABASE_URL"),
        ("FATAL:  connection requires a valid client certificate", "name a certificate that the database knows"),
        ('private key file "/k.pem" has group or world access; file must have', "name the key of sslcert"),
        ('certificate present, but not private key file "/nowhere"', "name the key of sslcert"),
        ("FATAL:  sorry, too many clients already", MORE_CONNECTIONS),
        ('FATAL:  too many connections for role "ada"', MORE_CONNECTIONS),
        ("FATAL:  remaining connection slots are reserved for non-replication superuser", MORE_CONNECTIONS),
        ("permission denied for schema public\nLINE 1: SELECT * FROM public.t", OWNER),
        ("permission denied for table django_migrations", OWNER),
        ('FATAL:  permission denied for database "other"\nDETAIL:  User does not have CONNECT', OWNER),
        ("no schema has been selected to create in", OWNER),
        ("cannot execute CREATE TABLE in a read-only transaction", "name the primary in DATABASE_URL"),
        ("failed: session is read-only", "name the primary in DATABASE_URL"),
        ('relation "chats" does not exist', "run: manage.py migrate"),
        ('connection is bad: invalid sslmode value: "sometimes"', "correct this option in DATABASE_URL"),
        ('FATAL:  unrecognized configuration parameter "nonsense"', "correct this option in DATABASE_URL"),
        ('FATAL:  invalid value for parameter "synchronous_commit": "perhaps"', "correct this option in DATABASE_URL"),
        ("FATAL:  the database system is starting up", "wait until the database has started"),
        ("failed: No route to host\n\tIs the server running on that host and accepting TCP/IP", START),
        ("failed: Network is unreachable\n\tIs the server running on that host", START),
        ('connection to server on socket "/nowhere/.s.PGSQL.5432" failed: No such file or directory', START),
        ("failed to resolve host 'nowhere.invalid': [Errno -2] Name or service not known", START),
        # What MongoDB's driver says, with what follows in it.
        ("The DNS query name does not exist: _mongodb._tcp.nowhere.invalid.", START),
        (f"nowhere.invalid:27017: [Errno -2] Name or service not known{AFTER_A_WAIT}", START),
        (f"127.0.0.1:1: [Errno 111] Connection refused{AFTER_A_WAIT}", START),
        (f"SSL handshake failed: h: [('SSL routines', '', 'certificate verify failed')]{AFTER_A_WAIT}", AUTHORITY),
        (
            f"h: (\"VerificationError(errors=[IPAddressMismatch(mismatched_id='h')])\",){AFTER_A_WAIT}",
            "name the host in DATABASE_URL",
        ),
        (
            f"h:1: [('SSL routines', '', 'tlsv13 alert certificate required')]{AFTER_A_WAIT}",
            "name a certificate that the database knows",
        ),
        (f"SSL handshake failed: h:1: (104, 'ECONNRESET'){AFTER_A_WAIT}", "see whether it runs and speaks TLS"),
        (f"h:1: [Errno 104] Connection reset by peer{AFTER_A_WAIT}", "see whether it runs and speaks TLS"),
        (f'No replica set members available for replica set name "wrong"{AFTER_A_WAIT}', SET_NAME),
        (
            "client is configured to connect to a replica set named 'a' but this node belongs to a set named 'b'",
            SET_NAME,
        ),
        (f'No replica set members match selector "Primary()"{AFTER_A_WAIT}', PRIMARY),
        (
            f"not primary, full error: {{'ok': 0.0, 'code': 10107, 'codeName': 'NotWritablePrimary'}}{AFTER_A_WAIT}",
            PRIMARY,
        ),
        ("x, full error: {'ok': 0.0, 'code': 13435, 'codeName': 'NotPrimaryNoSecondaryOk'}", PRIMARY),
        (
            "authentication failed, full error: {'code': 18, 'codeName': 'AuthenticationFailed'}",
            f"{LOGIN}, and the auth",
        ),
        ("command find requires authentication, full error: {'code': 13, 'codeName': 'Unauthorized'}", LOGIN),
        (
            "not authorized on parley to execute command, full error: {'code': 13, 'codeName': 'Unauthorized'}",
            "grant the user of DATABASE_URL readWrite",
        ),
        ("waiting for replication timed out, full error: {'code': 64}", MAJORITY),
        ("Not enough data-bearing nodes, full error: {'code': 100}", MAJORITY),
        # What SQLite says.
        ("attempt to write a readonly database", "let Parley's user write the file and its directory"),
        ('FATAL: database "parley" does not exist', "create the database, or correct its name in DATABASE_URL"),
        ("could not translate host name", "start the database, or correct host and port in DATABASE_URL"),
        (
            "Transaction numbers are only allowed on a replica set member or mongos",
            "run MongoDB as a replica set (one member will do)",
        ),
        ("database or disk is full", "make room on the disk"),
        ("no such column: messages.x", "run: manage.py migrate"),
        ("something new", "see the message of the database"),
    ],
)
def test_what_databases_say_is_understood(said: str, remedy: str) -> None:
    """What PostgreSQL, MongoDB and SQLite say leads to what helps."""
    assert remedy_for(Exception(said)).startswith(remedy)


def test_an_error_without_words_speaks_by_its_cause() -> None:
    """MongoDB's backend raises such ones from those of the driver."""
    error = DatabaseError()
    error.__cause__ = OSError("authentication failed, full error: {'codeName': 'AuthenticationFailed'}")

    assert first_line(error) == "authentication failed"
    assert remedy_for(error).startswith(LOGIN)


@pytest.mark.django_db
def test_the_suite_runs_on_sound_settings() -> None:
    """Django's own checks have no complaint."""
    assert [finding.level for finding in settings_in_force()] == [Level.OK]
