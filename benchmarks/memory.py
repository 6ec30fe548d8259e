"""Peak memory against corpus size: ``python benchmarks/memory.py [FILES]``.

Indexes FILES (300) files and then ten times as many, each in a fresh process and data folder, with a fast fake
embedder. Prints one JSON object; ``ratio``: peak resident memory of the larger run ÷ that of the smaller one, for the
largest single process (the kernel's figure) and without file pages (``anonymous``, sampled every 20 ms).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from corpora import fake_settings, plain_text


def peak(folder: Path, corpus: Path) -> dict[str, float]:
    """Run the command; peaks in MB and what it indexed."""
    settings, environment = fake_settings(folder)
    command = [sys.executable, "-m", "semantik_pipeline.cli", "index", str(corpus), "--json"]
    process = subprocess.Popen(
        [*command, "--data-dir", str(folder / "data"), "--config", str(settings)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    anonymous = 0
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            memory = watched.memory_info()
            anonymous = max(anonymous, memory.rss - memory.shared)
        except psutil.Error:
            break
        time.sleep(0.02)
        if process.stdout is not None and process.poll() is not None:
            break
    out = process.stdout.read() if process.stdout else b"{}"
    usage = _usage_of_last_child()
    answer = json.loads(out)
    return {
        "rss_mb": round(usage / 1024, 1),
        "anonymous_mb": round(anonymous / 1e6, 1),
        **answer["chunks"],
        "seconds": answer["seconds"],
    }


def _usage_of_last_child() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


def main() -> None:
    files = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small = peak(folder / "a", plain_text(folder / "small", files))
        large = peak(folder / "b", plain_text(folder / "large", 10 * files))
    ratio = {kind: round(large[f"{kind}_mb"] / small[f"{kind}_mb"], 3) for kind in ("rss", "anonymous")}
    print(json.dumps({"small": small, "large": large, "ratio": ratio}))


if __name__ == "__main__":
    main()
