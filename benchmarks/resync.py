"""The cost of a second ``semantik index``: ``python benchmarks/resync.py [FILES]``.

Indexes FILES (5,000) small files with the fake embedder, then runs the command five more times on the unchanged folder.
It also indexes SAMPLE (20) files twice with the packaged MiniLM. If a command fails, the benchmark ends and prints the
command's output. Otherwise it prints one JSON object:

- ``first_seconds``: wall time of the first command;
- ``seconds``, ``least_seconds``: median and minimum wall time of the repeated command; ``processor_seconds``: its
  minimum CPU time. On a busy machine, the two minimums are more meaningful than the median;
- ``unchanged``, ``embedded``: the unchanged documents and embedded chunks that the last command reported;
- ``torch_imported``: whether the second command with the MiniLM imported torch; null if the model's package is not
  installed;
- ``help_seconds``: the median wall time of ``semantik --help``.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from support.corpora import fake_settings

from semantik_pipeline.builtin.embedders.packaged_model import packaged_folder

#: Number of files that the model embeds.
SAMPLE = 20

PROBE = """
import sys, time
start = time.time()
from semantik_pipeline.cli import main
try:
    main()
except SystemExit:
    pass
print("torch" in sys.modules, file=sys.stderr)
"""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A command's wall and CPU seconds, and its output."""

    seconds: float
    processor: float
    out: str
    err: str


def timed(command: list[str], environment: dict[str, str]) -> Run:
    """Run the command. If it fails, end the benchmark."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(seconds=seconds, processor=processor, out=done.stdout, err=done.stderr)


def notes(folder: Path, files: int) -> Path:
    for number in range(files):
        place = folder / f"{number % 50:02}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"note{number:05}.txt").write_text(f"Note {number} is about subject {number % 97} and nothing else.")
    return folder


def imports_torch(folder: Path) -> bool | None:
    """Whether a second ``semantik index`` with the default model imports torch. The first one must import it. None if
    the model's package is not installed."""
    if packaged_folder() is None:
        return None
    settings = folder / "default.toml"
    settings.write_text("")
    options = ["index", str(notes(folder / "sample", SAMPLE)), "--json", "--data-dir", str(folder / "minilm")]
    runs = [timed([sys.executable, "-c", PROBE, *options, "--config", str(settings)], {}) for _ in range(2)]
    first, second = (run.err.strip().splitlines()[-1] == "True" for run in runs)
    assert first, runs[0].err
    return second


def main() -> None:
    files = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = notes(folder / "corpus", files)
        settings, environment = fake_settings(folder)
        options = ["index", str(corpus), "--json", "--data-dir", str(folder / "data"), "--config", str(settings)]
        first = timed([sys.executable, "-m", "semantik_pipeline.cli", *options], environment)
        assert json.loads(first.out)["documents"]["new"] == files
        runs = [timed([sys.executable, "-m", "semantik_pipeline.cli", *options], environment) for _ in range(5)]
        answer = json.loads(runs[-1].out)
        torch_imported = imports_torch(folder)
        helps = [timed([sys.executable, "-m", "semantik_pipeline.cli", "--help"], {}).seconds for _ in range(5)]
    print(
        json.dumps(
            {
                "files": files,
                "first_seconds": first.seconds,
                "seconds": statistics.median(run.seconds for run in runs),
                "least_seconds": min(run.seconds for run in runs),
                "processor_seconds": min(run.processor for run in runs),
                "unchanged": answer["documents"]["unchanged"],
                "embedded": answer["chunks"]["embedded"],
                "torch_imported": torch_imported,
                "help_seconds": statistics.median(helps),
            }
        )
    )


if __name__ == "__main__":
    main()
