"""The real command line in a process of its own, with the fakes as an installed package."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.forks import Result, Running, begun, semantik

#: No extraction and no model: a command is as quick as it can be.
SETTINGS = """
[collection.embedding]
plugin = "fake-embedder"
[collection.extraction]
enabled = false
[search]
reranker = "fake-reranker"
"""


class CommandLine:
    """``semantik`` over one data folder, with settings that name the fakes. Calling it runs a command to its end."""

    def __init__(self, folder: Path, plugins: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        config = folder / "semantik.toml"
        config.write_text(SETTINGS)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SEMANTIK_")}
        own = {"SEMANTIK_DATA_DIR": str(self.data), "SEMANTIK_CONFIG": str(config)}
        self.environment = {**kept, **own, "PYTHONPATH": str(plugins), "HOME": str(folder)}

    def __call__(self, *arguments: object, **env: str) -> Result:
        return semantik(arguments, {**self.environment, **env})

    def begun(self, *arguments: object, terminal: str | None = None) -> AbstractContextManager[Running]:
        """A command that goes on; killed at the end of the block.

        ``terminal`` is a device that is its standard output.
        """
        return begun(arguments, self.environment, terminal=terminal)

    def start(self, *arguments: object, **env: str) -> subprocess.Popen[bytes]:
        """The command as a person starts it, still running."""
        return subprocess.Popen(
            [sys.executable, "-m", "semantik_pipeline.cli", *map(str, arguments)],
            env={**self.environment, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def afresh(self, *arguments: object, **env: str) -> Result:
        """The command as a person starts it, to its end."""
        process = self.start(*arguments, **env)
        out, err = process.communicate(timeout=120)
        return Result(process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))


@pytest.fixture
def cli(tmp_path: Path, installed_fakes: Path) -> CommandLine:
    return CommandLine(tmp_path, installed_fakes)


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    """A folder with two texts, a broken PDF and an empty file."""
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "leases.md").write_text("# Leases\n\nA lease expires when its holder stops renewing it.\n")
    (folder / "queues.txt").write_text("A queue hands work to workers in the order of their lanes.\n")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7\nnothing of a PDF follows\n")
    (folder / "empty.txt").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory, installed_fakes: Path) -> CommandLine:
    """A command line over a data folder that has three documents; for tests that only look."""
    folder = tmp_path_factory.mktemp("indexed")
    command = CommandLine(folder, installed_fakes)
    for name, text in {"leases.md": LEASES, "queues.txt": "A queue hands work to workers.\n"}.items():
        path = folder / "papers" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    (folder / "papers" / "broken.pdf").write_bytes(b"%PDF-1.7\nnothing of a PDF follows\n")
    done = command("index", folder / "papers", "--json")
    assert done.code == 3, done.err
    return command


LEASES = "# Leases\n\nA lease expires when its holder stops renewing it.\n"
