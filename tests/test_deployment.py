"""Tests of compose.yaml and deploy/: what they name exists, every container is shut in, and the code agrees."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from chatproject import secretfiles
from chatproject.body_limit import UPLOADS
from realtime.daphne_bounds import SHUTDOWN_SECONDS
from realtime.daphne_http import LARGEST_BODY
from tests.live.server import ROOT, clean_environment

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONCE = {"migrate", "mongodb-init"}
"""They end by themselves, so nobody asks how they are."""
CADDYFILE = ROOT / "deploy" / "Caddyfile"

every_service = pytest.mark.parametrize("name", SERVICES)


def test_the_file_keeps_to_its_schema() -> None:
    """The Compose specification has no complaint."""
    linter = Path(sys.executable).with_name("check-jsonschema")
    command = [linter, "--builtin-schema", "vendor.compose-spec", "compose.yaml"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


@every_service
def test_every_container_is_shut_in(name: str) -> None:
    """No privilege, no root, nothing to write to but what is named, and bounds on what it may use."""
    service = SERVICES[name]

    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"cpus", "memory"} == set(service["deploy"]["resources"]["limits"])
    assert service["pids_limit"] > 0
    assert service["restart"] == ("no" if name in ONCE else "unless-stopped")


@every_service
def test_every_image_has_a_version(name: str) -> None:
    """Two machines run the same thing, today and in a year."""
    image = SERVICES[name]["image"].replace("${PARLEY_VERSION:-0.1.0}", "0.1.0")

    assert re.fullmatch(r"[a-z-]+:\d+\.\d+\.\d+(-alpine)?", image)


@pytest.mark.parametrize("name", sorted(set(SERVICES) - ONCE))
def test_every_lasting_service_is_asked_how_it_is(name: str) -> None:
    """In time, and by a program that its image has."""
    check = SERVICES[name]["healthcheck"]

    assert check["test"][0] in {"CMD", "CMD-SHELL"}
    assert {"interval", "timeout", "start_period"} <= set(check)


def test_only_the_proxy_can_be_reached() -> None:
    """The others publish no port, and have no way out either."""
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["proxy"]
    assert [name for name, service in SERVICES.items() if service["networks"] != ["inside"]] == ["proxy"]
    assert COMPOSE["networks"]["inside"] == {"internal": True}


def test_the_server_knows_every_variable() -> None:
    """compose.yaml gives Parley nothing that `chatproject/env.py` does not read, and production's needs are met."""
    code = (ROOT / "chatproject" / "env.py").read_text()
    known = set(re.findall(r'"((?:PARLEY_|DATABASE_|REDIS_)[A-Z_]+)"', code))
    given = {name.removesuffix("_FILE"): value for name, value in SERVICES["parley"]["environment"].items()}

    assert set(given) <= known
    assert given["PARLEY_ENV"] == "production"
    assert {"PARLEY_SECRET_KEY", "PARLEY_JWT_KEY", "PARLEY_MASTER_KEYS", "PARLEY_ALLOWED_HOSTS"} <= set(given)
    assert SERVICES["migrate"]["environment"] == SERVICES["parley"]["environment"]


def test_secrets_come_by_file_alone() -> None:
    """No value in an environment or a command line; each file is one that `make secret-files` makes."""
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|KEY|URL", name):
                assert name.endswith("_FILE")
                assert value.removeprefix("/run/secrets/") in service["secrets"]
    files = {
        name: Path(one["file"].replace("${PARLEY_SECRETS:-./var/secrets}", ""))
        for name, one in COMPOSE["secrets"].items()
    }
    handed_out = {name for service in SERVICES.values() for name in service.get("secrets", [])}

    assert {name: path.name for name, path in files.items()} == {name: name for name in secretfiles.FILES}
    assert handed_out == set(secretfiles.FILES)
    assert "/var/" in (ROOT / ".gitignore").read_text().splitlines()


@every_service
def test_what_is_mounted_is_there(name: str) -> None:
    """Files come from the repository, to be read alone; everything else is a volume that is declared."""
    for mount in SERVICES[name].get("volumes", []):
        source, _, rest = mount.partition(":")
        if source.startswith("./"):
            assert (ROOT / source).is_file()
            assert rest.endswith(":ro")
        else:
            assert source in COMPOSE["volumes"]


def test_the_servers_wait_for_the_schema() -> None:
    """Migrating ends well before the first Daphne starts, and the proxy comes last."""
    needs = {name: service.get("depends_on", {}) for name, service in SERVICES.items()}

    assert needs["parley"]["migrate"] == {"condition": "service_completed_successfully"}
    assert needs["migrate"]["mongodb-init"] == {"condition": "service_completed_successfully"}
    assert needs["proxy"]["parley"] == {"condition": "service_healthy"}


def test_several_servers_share_their_files_and_end_in_time() -> None:
    """Attachments that one of them stores are read by the others; each has longer to end than it takes."""
    parley = SERVICES["parley"]

    assert parley["deploy"]["replicas"] >= 2
    assert parley["volumes"] == [f"media:{parley['environment']['PARLEY_DATA_DIR']}"]
    assert int(parley["stop_grace_period"].removesuffix("s")) > SHUTDOWN_SECONDS + 2


# --- The proxy --------------------------------------------------------------------------------------------------------


def test_the_proxy_understands_its_file() -> None:
    """Caddy takes it, and finds it well formatted."""
    environment = clean_environment(PARLEY_SITE="127.0.0.1")
    validate = ["caddy", "validate", "--adapter", "caddyfile", "--config", str(CADDYFILE)]

    validated = subprocess.run(validate, env=environment, capture_output=True, text=True, check=False)
    formatted = subprocess.run(["caddy", "fmt", str(CADDYFILE)], capture_output=True, text=True, check=True)

    assert "Valid configuration" in validated.stdout + validated.stderr
    assert formatted.stdout == CADDYFILE.read_text()


def test_the_proxy_lets_through_what_the_server_takes() -> None:
    """Its limit lies between the largest body that is served and the one at which Daphne hangs up."""
    limit = re.search(r"max_size (\d+)MB", CADDYFILE.read_text())
    assert limit is not None

    assert max(UPLOADS.values()) < int(limit[1]) * 1_000_000 < LARGEST_BODY


def test_the_proxy_is_served_on_the_ports_that_are_published() -> None:
    """What compose.yaml publishes is what the Caddyfile and the images listen on."""
    text = CADDYFILE.read_text()
    http, https = (re.search(rf"{name}_port (\d+)", text)[1] for name in ("http", "https"))  # type: ignore[index]
    daphne = re.search(r"port (\d+)\n\s+refresh", text)[1]  # type: ignore[index]

    assert SERVICES["proxy"]["ports"] == [f"80:{http}", f"443:{https}"]
    assert f'"-p", "{daphne}"' in (ROOT / "Dockerfile").read_text()


# --- Secrets ----------------------------------------------------------------------------------------------------------


def test_secret_files_start_a_production_server(tmp_path: Path) -> None:
    """A fresh set is all that production asks for; nobody but the owner can enter their directory."""
    directory = tmp_path / "secrets"
    made = secretfiles.complete(directory)
    files = {name: f"/run/secrets/{name}" for name in made}
    environment = {
        name: str(directory / Path(value).name) if value in files.values() else value
        for name, value in SERVICES["parley"]["environment"].items()
    }
    environment |= {"PARLEY_ALLOWED_HOSTS": "chat.example.org", "PARLEY_DATA_DIR": str(tmp_path)}
    show = "from chatproject.env import ENV; print(ENV.database_url, *ENV.redis[0].login.values())"

    done = subprocess.run(
        [sys.executable, "-c", show],
        env=clean_environment(**environment),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    database, redis = done.stdout.split()
    assert database == (directory / "database_url").read_text().strip()
    assert (directory / "redis_password").read_text().strip() in redis
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o444}


def test_secret_files_are_never_made_anew(tmp_path: Path) -> None:
    """A second run changes nothing; an address that is missing is made of the password that is there."""
    secretfiles.complete(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (tmp_path / "redis_url").unlink()

    assert secretfiles.complete(tmp_path) == ["redis_url"]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_secret_files_are_made_without_a_word_of_them(tmp_path: Path) -> None:
    """The command tells names alone, and one that is called wrongly says how."""
    command = [sys.executable, "-m", "chatproject.secretfiles"]

    made = subprocess.run([*command, str(tmp_path / "new")], cwd=ROOT, capture_output=True, text=True, check=True)
    wrong = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert all(name in made.stdout for name in secretfiles.FILES)
    assert not [path for path in (tmp_path / "new").iterdir() if path.read_text().strip() in made.stdout]
    assert (wrong.returncode, "usage:" in wrong.stderr) == (2, True)
