"""Makes the secrets of a development server: `python -m chatproject.devsecrets var/secrets.env`.

Variables that the file has already are kept, so running it again changes nothing. Production never reads this file.
"""

from __future__ import annotations

import base64
import os
import re
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

SIGNING_SECRET_BYTES = 48  # 64 URL-safe characters
MASTER_KEY_BYTES = 32
MASTER_KEY_ID = "dev1"


def signing_secret() -> str:
    """Return 64 random characters that need no quoting anywhere, not even in a URL."""
    return secrets.token_urlsafe(SIGNING_SECRET_BYTES)


def master_key(key_id: str) -> str:
    """Return a new master key as `PARLEY_MASTER_KEYS` has it."""
    return f"{key_id}:{base64.b64encode(secrets.token_bytes(MASTER_KEY_BYTES)).decode()}"


GENERATORS: dict[str, Callable[[], str]] = {
    "PARLEY_SECRET_KEY": signing_secret,
    "PARLEY_JWT_KEY": signing_secret,
    "PARLEY_MASTER_KEYS": lambda: master_key(MASTER_KEY_ID),
}


def complete(path: Path) -> list[str]:
    """Add the secrets that `path` lacks and return their names; the file is readable by its owner alone.

    The file is replaced as a whole, so that a reader sees the old one or the new one and never a part.
    """
    text = path.read_text() if path.exists() else ""
    missing = [name for name in GENERATORS if not re.search(rf"^(export )?{name}=.", text, re.MULTILINE)]
    if missing:
        if text and not text.endswith("\n"):
            text += "\n"
        text += "".join(f"{name}={GENERATORS[name]()}\n" for name in missing)
        replace(path, text)
    else:
        path.chmod(0o600)
    return missing


def replace(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Write `text` to `path` atomically, for its owner alone from its first byte on, then with `mode`."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def main(arguments: list[str]) -> int:
    """Complete the file that the command line names, and say which variables were added, never their values."""
    if len(arguments) != 1:
        print("usage: python -m chatproject.devsecrets PATH", file=sys.stderr)
        return 2
    path = Path(arguments[0])
    if missing := complete(path):
        print(f"{path}: made {', '.join(missing)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
