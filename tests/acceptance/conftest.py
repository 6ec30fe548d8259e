"""Acceptance tests run real processes: the command line in subprocesses, with fakes installed as plugins."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests import forks

#: The embedder is slow enough to be killed while it works.
SETTINGS = """
[collection.embedding]
plugin = "fake-embedder"
[collection.chunking.options]
max_tokens = 40
min_tokens = 1
overlap_tokens = 0
[embed]
pool_chunks = 32
"""

#: Gives every stage work without the seconds that each process needs to load the built-in extractors' models.
FAKE_EXTRACTION = """
[collection.extraction]
document = []
[[collection.extraction.chunk]]
plugin = "fake-extractor"
"""


class Semantik:
    """The ``semantik`` command, run in separate processes on one data folder."""

    def __init__(self, folder: Path, fakes: Path) -> None:
        self.data = folder / "data"
        self.log = folder / "embedded.log"
        self.settings = folder / "semantik.toml"
        self.settings.write_text(SETTINGS + FAKE_EXTRACTION)
        self.environment = {**os.environ, "PYTHONPATH": str(fakes)}
        self.data.mkdir()
        self.configure(log_path=str(self.log), sleep_ms_per_text=2)

    def configure(self, **options: object) -> None:
        """Set the fake embedder's options in the shared state file."""
        state = {"version": 1, "disabled_ids": [], "configs": {"fake-embedder": options}}
        (self.data / "plugins.json").write_text(json.dumps(state))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "semantik_pipeline.cli", *arguments, "--json"]
        options = ["--data-dir", str(self.data), "--config", str(self.settings)]
        return subprocess.Popen(
            [*command, *options],
            env=self.environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *arguments: str, code: int | None = 0, timeout: float = 120) -> dict:
        """Run a command and return its JSON; ``code`` is the expected exit status (None: any)."""
        options = ["--json", "--data-dir", self.data, "--config", self.settings]
        done = forks.semantik([*arguments, *options], self.environment, seconds=timeout)
        assert code is None or done.code == code, f"exit {done.code}\n{done.out}\n{done.err}"
        return done.json()

    def answers(self, phrases: Mapping[str, str], *, limit: int) -> dict[str, dict]:
        """Return each phrase's answer of a sparse search, all from one process, because its start takes seconds."""
        asked = json.dumps({"phrases": dict(phrases), "limit": limit})
        command = [sys.executable, str(Path(__file__).with_name("ask.py")), str(self.settings), str(self.data)]
        done = subprocess.run(command, env=self.environment, input=asked, text=True, capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def embedded(self) -> list[str]:
        """Return the hashes of the embedded texts of all processes, in order."""
        return self.log.read_text().splitlines() if self.log.exists() else []


def kill_family(process: subprocess.Popen[str]) -> bool:
    """Kill a run with all its children; return False if it had ended before."""
    with suppress(psutil.NoSuchProcess):
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for one in family:
            with suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


@pytest.fixture
def semantik(tmp_path: Path, installed_fakes: Path) -> Semantik:
    return Semantik(tmp_path, installed_fakes)


@pytest.fixture
def corpus(tmp_path: Path) -> Callable[[int], Path]:
    """``corpus(n)`` creates a folder of n distinct text files with four paragraphs each."""

    def make(count: int) -> Path:
        folder = tmp_path / "corpus"
        folder.mkdir(exist_ok=True)
        for number in range(count):
            parts = [
                f"File {number} part {part} of the corpus speaks of topic{number * 7 % 101} on 3 May 2024 and of "
                + " ".join(f"word{(number * 31 + part * 17 + place) % 997}" for place in range(22))
                for part in range(4)
            ]
            (folder / f"file{number:04}.txt").write_text("\n\n".join(parts))
        return folder

    return make
