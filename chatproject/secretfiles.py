"""Makes the files that hold the secrets of a deployment: `python3 -m chatproject.secretfiles var/secrets`.

compose.yaml hands each to the containers that need it. Files that are there are kept, so running it again changes
nothing; an address that holds a password is made of the password's file.
"""

from __future__ import annotations

import base64
import secrets
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from chatproject.devsecrets import master_key, replace, signing_secret

KEYFILE_BYTES = 512
FOR_CONTAINERS = 0o444
"""A container's user is another one than the owner outside; what keeps everybody else away is the directory."""


def _keyfile() -> str:
    return base64.b64encode(secrets.token_bytes(KEYFILE_BYTES)).decode()


FILES: Mapping[str, Callable[[Mapping[str, str]], str]] = {
    "secret_key": lambda _: signing_secret(),
    "jwt_key": lambda _: signing_secret(),
    "master_keys": lambda _: master_key(f"{datetime.now(UTC):%Y%m%d}"),
    "redis_password": lambda _: signing_secret(),
    "redis_url": lambda made: f"redis://:{made['redis_password']}@redis:6379/0",
    "mongodb_keyfile": lambda _: _keyfile(),
    "mongodb_root_password": lambda _: signing_secret(),
    "mongodb_password": lambda _: signing_secret(),
    "database_url": lambda made: (
        f"mongodb://parley:{made['mongodb_password']}@mongodb:27017/parley"
        "?authSource=parley&replicaSet=parley&w=majority&journal=true"
    ),
}
"""Each file's name, and how its content is made of those before it."""


def complete(directory: Path) -> list[str]:
    """Make the files that `directory` lacks and return their names; nobody but its owner may enter it."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    directory.chmod(0o700)
    contents: dict[str, str] = {}
    made = []
    for name, make in FILES.items():
        path = directory / name
        if not path.exists():
            replace(path, make(contents) + "\n", mode=FOR_CONTAINERS)
            made.append(name)
        contents[name] = path.read_text().strip()
    return made


def main(arguments: list[str]) -> int:
    """Complete the directory that the command line names, and say which files were made, never what is in them."""
    if len(arguments) != 1:
        print("usage: python3 -m chatproject.secretfiles DIRECTORY", file=sys.stderr)
        return 2
    directory = Path(arguments[0])
    if made := complete(directory):
        print(f"{directory}: made {', '.join(made)}")
        print(f"Keep a copy of {directory / 'master_keys'} in a safe place: without it nobody can read anything.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
