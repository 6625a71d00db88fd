"""The README's conversation, run as it stands against a real server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.server import ROOT, Daphne

pytestmark = pytest.mark.live


def block() -> str:
    """Return the code of the section `Talk to it`."""
    section = (ROOT / "README.md").read_text().partition("## Talk to it")[2].partition("\n## ")[0]
    found = re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert len(found) == 1
    return str(found[0])


def test_the_readme_works(live_server_process: Daphne, tmp_path: Path) -> None:
    """Grace gets Ada's message and the ack of her answer, and Ada's inbox has it."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block()],
        env={"PATH": path, "HOME": str(tmp_path), "LANG": "C.UTF-8", "URL": live_server_process.url},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    heard = [json.loads(text) for text in re.findall(r"grace gets (\{.*?\})$", done.stdout, re.MULTILINE)]
    assert [frame.get("event", "ack") for frame in heard] == ["hello", "message:receive", "ack"]
    assert heard[1]["data"]["content"] == "Tea at four? ☕"
    inbox = json.loads(done.stdout[done.stdout.rindex('{"chats"') :])
    assert inbox["chats"][0]["lastMessage"]["content"] == "Gladly!"
    assert done.stderr == ""
