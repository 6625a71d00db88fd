"""Tests of `chatproject.devsecrets`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from chatproject import devsecrets, env

ROOT = Path(__file__).resolve().parents[2]


def variables(path: Path) -> dict[str, str]:
    """Read the file as the environment would."""
    return dict(line.split("=", 1) for line in path.read_text().splitlines())


def test_a_new_file_holds_every_secret(tmp_path: Path) -> None:
    """All three are made, as strong as production asks for, and readable by the owner alone."""
    path = tmp_path / "data" / "secrets.env"

    made = devsecrets.complete(path)

    found = variables(path)
    assert made == ["PARLEY_SECRET_KEY", "PARLEY_JWT_KEY", "PARLEY_MASTER_KEYS"] == list(found)
    assert len(found["PARLEY_SECRET_KEY"]) >= env.MINIMUM_SECRET_LENGTH
    assert len(found["PARLEY_JWT_KEY"]) >= env.MINIMUM_SECRET_LENGTH
    assert found["PARLEY_SECRET_KEY"] != found["PARLEY_JWT_KEY"]
    [(key_id, key)] = env.parse_master_keys(found["PARLEY_MASTER_KEYS"])
    assert key_id == "dev1"
    assert len(set(key)) > 1
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    """The file keeps its bytes: a new key would make every stored message unreadable."""
    path = tmp_path / "secrets.env"
    devsecrets.complete(path)
    before = path.read_bytes()

    assert devsecrets.complete(path) == []
    assert path.read_bytes() == before


@pytest.mark.parametrize("ending", ["", "\n"])
def test_what_is_there_is_kept(tmp_path: Path, ending: str) -> None:
    """Only missing variables are added; comments and other people's values stay."""
    path = tmp_path / "secrets.env"
    path.write_text(f"# mine\nPARLEY_JWT_KEY=chosen{ending}")

    made = devsecrets.complete(path)

    assert made == ["PARLEY_SECRET_KEY", "PARLEY_MASTER_KEYS"]
    assert path.read_text().startswith("# mine\nPARLEY_JWT_KEY=chosen\nPARLEY_SECRET_KEY=")


def test_a_file_open_to_others_is_closed(tmp_path: Path) -> None:
    """A complete file that others can read loses that permission."""
    path = tmp_path / "secrets.env"
    devsecrets.complete(path)
    path.chmod(0o644)

    devsecrets.complete(path)

    assert path.stat().st_mode & 0o777 == 0o600


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk fails, neither half a file nor a draft stays behind."""
    path = tmp_path / "secrets.env"
    path.write_text("PARLEY_JWT_KEY=chosen\n")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(devsecrets.os, "fsync", fail)

    with pytest.raises(OSError, match="No space"):
        devsecrets.complete(path)
    assert path.read_text() == "PARLEY_JWT_KEY=chosen\n"
    assert list(tmp_path.iterdir()) == [path]


def test_the_command_names_what_it_made_and_shows_no_value(tmp_path: Path) -> None:
    """Build logs are public: they see names alone. Without a path the command explains itself."""
    path = tmp_path / "secrets.env"
    command = [sys.executable, "-m", "chatproject.devsecrets"]

    done = subprocess.run([*command, str(path)], cwd=ROOT, capture_output=True, text=True, check=True)
    wrong = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert "made PARLEY_SECRET_KEY, PARLEY_JWT_KEY, PARLEY_MASTER_KEYS" in done.stdout
    assert not any(value in done.stdout + done.stderr for value in variables(path).values())
    assert wrong.returncode == 2
    assert "usage" in wrong.stderr
