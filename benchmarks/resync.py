"""What a second ``semantik index`` costs: ``python benchmarks/resync.py [FILES]``.

Indexes FILES (5,000) small files with the fake embedder, then runs the command again on the unchanged folder, five
times. Prints one JSON object: ``seconds`` of the whole second command (median), what it embedded, whether torch was
imported, and the seconds of ``semantik --help``.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from corpora import fake_settings

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


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, str, str]:
    start = time.perf_counter()
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    return time.perf_counter() - start, done.stdout, done.stderr


def main() -> None:
    files = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = folder / "corpus"
        for number in range(files):
            place = corpus / f"{number % 50:02}"
            place.mkdir(parents=True, exist_ok=True)
            (place / f"note{number:05}.txt").write_text(
                f"Note {number} is about subject {number % 97} and nothing else."
            )
        settings, environment = fake_settings(folder)
        options = ["index", str(corpus), "--json", "--data-dir", str(folder / "data"), "--config", str(settings)]
        first, out, _ = timed([sys.executable, "-m", "semantik_pipeline.cli", *options], environment)
        assert json.loads(out)["documents"]["new"] == files
        runs = [timed([sys.executable, "-m", "semantik_pipeline.cli", *options], environment) for _ in range(5)]
        answer = json.loads(runs[-1][1])
        _, _, err = timed([sys.executable, "-c", PROBE, *options], environment)
        helps = [timed([sys.executable, "-m", "semantik_pipeline.cli", "--help"], {})[0] for _ in range(5)]
    print(
        json.dumps(
            {
                "files": files,
                "first_seconds": first,
                "seconds": statistics.median(run[0] for run in runs),
                "unchanged": answer["documents"]["unchanged"],
                "embedded": answer["chunks"]["embedded"],
                "torch_imported": err.strip().splitlines()[-1] == "True",
                "help_seconds": statistics.median(helps),
            }
        )
    )


if __name__ == "__main__":
    main()
