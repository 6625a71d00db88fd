"""Tests of what the project is built and shipped with: pins, ignored files, the image."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def pins(name: str) -> set[str]:
    """Return the `name==version` of a file, without the markers that say where it is needed."""
    lines = (ROOT / name).read_text().splitlines()
    return {pin for line in lines if (pin := line.split("#")[0].split(";")[0].strip())}


def wanted(*keys: str) -> set[str]:
    """Return one list of requirements of pyproject.toml."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for key in keys:
        table = table[key]
    return set(table)


def make(*arguments: str, directory: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run make quietly, without the variables that an outer make hands down."""
    outer = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES")
    clean = {name: value for name, value in os.environ.items() if name not in outer and not name.startswith("PARLEY_")}
    return subprocess.run(
        ["make", *arguments], cwd=directory, env={**clean, **environment}, capture_output=True, text=True, check=False
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A directory that holds what make looks at, and nothing that was installed."""
    for name in ("Makefile", "requirements.txt", "requirements-dev.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "web" / "src").mkdir(parents=True)
    (tmp_path / "web" / "src" / "main.ts").write_text("one")
    return tmp_path


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_requirement_is_pinned(name: str) -> None:
    """Two installations of one commit are the same, down to the packages of packages."""
    assert pins(name)
    assert [pin for pin in pins(name) if not re.match(r"^[A-Za-z0-9._\[\]-]+==[^*,]+$", pin)] == []


def test_the_lists_are_the_lock_of_pyproject() -> None:
    """`make lock` was run after the last change, and tests run on what is served."""
    served, developed = pins("requirements.txt"), pins("requirements-dev.txt")
    names = {re.sub(r"\[.*\]", "", pin) for pin in served}

    assert {re.sub(r"\[.*\]", "", pin) for pin in wanted("project", "dependencies")} <= names
    assert wanted("dependency-groups", "dev") <= developed
    assert served <= developed


def test_stamps_follow_content_and_not_time(checkout: Path) -> None:
    """A checkout or a touch installs and builds nothing again; a changed byte does."""
    stamp = checkout / ".make" / "web"
    source = checkout / "web" / "src" / "main.ts"
    assert make(".make/web", directory=checkout).returncode == 0
    os.utime(stamp, (1, 1))

    os.utime(source)
    make(".make/web", directory=checkout)
    assert stamp.stat().st_mtime == 1

    source.write_text("two")
    make(".make/web", directory=checkout)
    assert stamp.stat().st_mtime > 1


def test_an_old_python_gets_one_clear_line(checkout: Path) -> None:
    """The message says what is needed and how to name another one."""
    old = checkout / "old-python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)

    done = make("install", f"PYTHON={old}", directory=checkout)

    assert done.returncode != 0
    assert "Parley needs Python 3.11 or newer" in done.stderr
    assert not (checkout / ".venv").exists()


def test_a_python_without_ensurepip_gets_one_clear_line(checkout: Path) -> None:
    """Debian ships `venv` in a package of its own; the message names it."""
    bare = checkout / "bare-python"
    bare.write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\n')
    bare.chmod(0o755)

    done = make("install", f"PYTHON={bare}", directory=checkout)

    assert done.returncode != 0
    assert "apt-get install python3-venv" in done.stderr


@pytest.mark.parametrize(("built", "says"), [(False, "Node.js 20.19 or newer"), (True, "as it was built last")])
def test_without_node_the_last_build_is_served(checkout: Path, built: bool, says: str) -> None:
    """Without Node.js the first build cannot be made, but one that is there is good enough."""
    tools = checkout / "tools"
    tools.mkdir()
    for name in ("sh", "echo", "find", "mkdir"):
        (tools / name).symlink_to(Path("/bin") / name)
    if built:
        (checkout / "web" / "dist").mkdir()
        (checkout / "web" / "dist" / "index.html").write_text("built")
    which = subprocess.run(["/bin/sh", "-c", "command -v make"], capture_output=True, text=True, check=True)
    (tools / "make").symlink_to(which.stdout.strip())

    done = make("web", directory=checkout, PATH=str(tools))

    assert (done.returncode == 0) is built
    assert says in done.stdout + done.stderr


def test_help_lists_what_people_need() -> None:
    """`make` alone explains itself."""
    listed = make().stdout

    for target in ("run", "admin", "demo", "doctor", "test", "lint", "format", "clean"):
        assert re.search(rf"^  make {target} +\S", listed, re.MULTILINE), target


def test_the_data_directory_stays_out_of_git_and_image() -> None:
    """Secrets and databases of a developer reach neither a commit nor an image."""
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    allowed = (ROOT / ".dockerignore").read_text().splitlines()

    assert "/var/" in ignored
    assert "*" in allowed
    assert "!var" not in allowed


def test_the_image_runs_unprivileged_and_in_production_mode() -> None:
    """The image needs no root, no secrets of its own, and ends with its server (an exec-form command)."""
    dockerfile = (ROOT / "Dockerfile").read_text()

    final = dockerfile[dockerfile.rindex("FROM ") :]
    assert re.search(r"^USER \d+:\d+$", final, re.MULTILINE)
    assert "PARLEY_ENV=production" in final
    assert re.search(r'^CMD \["daphne", ', final, re.MULTILINE)
    assert not re.search(r"PARLEY_(SECRET_KEY|JWT_KEY|MASTER_KEYS)", dockerfile)
