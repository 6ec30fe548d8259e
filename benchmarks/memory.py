"""Peak memory as the corpus grows: ``python benchmarks/memory.py [FILES]``.

Indexes FILES (1,000) files and then ten times as many with a fast fake embedder, each time in a new process and data
folder: once into a store that keeps nothing (``pipeline``, the pipeline's own share), once into the embedded store
(``embedded``). Prints one JSON object:

- ``anonymous_mb``: the peak of the command's resident memory that is not backed by files, sampled every 20 ms;
- ``rss_mb``: the kernel's peak of all resident memory of the command. It includes the store's mapped files, which the
  kernel reclaims when memory gets short;
- ``family_mb``: the peak, over the same samples, of the anonymous memory of the command and all processes that it
  started: the children that parse and chunk, and those that fold the store;
- ``ratio``: the larger run ÷ the smaller one. The smaller run must be large enough to fill the buffers whose size
  depends on batches and not on the corpus: 1,000 files are 6,161 chunks, which is three folds of the embedded store,
  while 300 files do not reach one fold.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from support.corpora import fake_settings, plain_text

KINDS = ("anonymous_mb", "rss_mb", "family_mb")
STORES = {"pipeline": "null-store", "embedded": None}


def peak(folder: Path, corpus: Path, store: str | None) -> dict[str, Any]:
    """Run the command. Returns its peaks in MB, and what it indexed."""
    settings, environment = fake_settings(folder, store=store)
    command = [sys.executable, "-m", "semantik_pipeline.cli", "index", str(corpus), "--json"]
    process = subprocess.Popen(
        [*command, "--data-dir", str(folder / "data"), "--config", str(settings)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    seen = {"RssAnon": 0, "VmHWM": 0, "family": 0}
    while process.poll() is None:
        own = _status(process.pid)
        started = [pid for pid in _descendants(process.pid) if _command(pid) != _command(process.pid)]
        others = sum(_status(pid).get("RssAnon", 0) for pid in started)
        for name, kilobytes in {**own, "family": own.get("RssAnon", 0) + others}.items():
            seen[name] = max(seen[name], kilobytes)
        time.sleep(0.02)
    answer = json.loads(process.communicate()[0])
    return {
        "anonymous_mb": round(seen["RssAnon"] * 1024 / 1e6, 1),
        "rss_mb": round(seen["VmHWM"] * 1024 / 1e6, 1),
        "family_mb": round(seen["family"] * 1024 / 1e6, 1),
        "chunks": answer["chunks"]["total"],
        "seconds": answer["seconds"],
    }


def _descendants(pid: int) -> list[int]:
    """The processes that a process started, and their descendants, as the kernel lists them for each thread (Linux)."""
    found = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # threads and processes end
            for child in map(int, children.read_text().split()):
                found += [child, *_descendants(child)]
    return found


def _command(pid: int) -> bytes:
    """The command line of a process. A forked process has the command line and the memory of its parent until it
    executes another program."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _status(pid: int) -> dict[str, int]:
    """Kilobytes of anonymous memory now, and of the peak resident size so far (Linux). Empty if the process has
    ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "VmHWM"))}


def main() -> None:
    files = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpora = {"small": plain_text(folder / "small", files), "large": plain_text(folder / "large", 10 * files)}
        for part, store in STORES.items():
            runs = {size: peak(folder / f"{part}-{size}", corpus, store) for size, corpus in corpora.items()}
            ratio = {kind: round(runs["large"][kind] / runs["small"][kind], 3) for kind in KINDS}
            report[part] = {**runs, "ratio": {kind.removesuffix("_mb"): value for kind, value in ratio.items()}}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
