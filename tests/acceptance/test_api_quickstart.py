"""The quickstart of docs/api.md runs exactly as it is written."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
PORT = 8642


def quickstart() -> list[str]:
    section = (REPO / "docs" / "api.md").read_text("utf-8").split("## Quickstart\n")[1].split("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_quickstart_does_what_it_says(tmp_path: Path, no_server: Callable[[str, str], None]) -> None:
    if shutil.which("curl") is None:
        no_server("There is no curl.", "Install it.")
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", PORT)) == 0:
            no_server(f"Port {PORT}, which the quickstart uses, is taken.", "Free it.")
    # each answer is on its own line after a marker; the server is ended whatever fails
    script = ["set -e -o pipefail", "trap 'kill $SERVER 2>/dev/null || true' EXIT"]
    script += [re.sub(r"^(?=curl)", "echo; ", block, flags=re.MULTILINE) for block in quickstart()]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SEMANTIK_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    run = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        env={**clean, "HOME": str(tmp_path), "TMPDIR": str(tmp_path), "PATH": path},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    answers = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    found = next(one for one in answers if "hits" in one)
    assert [hit["document"] for hit in found["hits"]] == ["travel"]
    emitted = next(one for one in answers if "complete" in one)
    assert emitted["complete"] and "Huber" in emitted["documents"][0]["text"]
    assert next(one for one in answers if "stages_changed" in one)["documents"] == 3
    assert next(one for one in answers if "key" in one)["role"] == "reader"
    assert run.stdout.count("event: finished") == 2
