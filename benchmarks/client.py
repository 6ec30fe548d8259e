"""The time of ``semantik search`` while a server owns the data folder: ``python benchmarks/client.py [FOLDER]``.

Indexes the documents in FOLDER (docs/) with the packaged model and starts ``semantik serve``. Then it runs the whole
command, as a person types it, for 2 questions that warm the server up and 7 different questions that are measured, with
and without the default reranker. Prints one JSON object; with ``reranked`` and ``without_reranking``:

- ``seconds``: the median wall time of the command from start to end; ``of`` lists all of them;
- ``processor_seconds``: the median CPU time of the command;
- ``server_ms``: the median time in milliseconds that the server needed for the search itself.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SEMANTIK = Path(sys.executable).with_name("semantik")

WARM = 2

QUESTIONS = (
    "how do I bring back what I deleted?",
    "what happens when a worker dies?",
    "how are leases renewed?",
    "which settings bound the memory of a worker?",
    "how does a plugin say what it needs?",
    "can I search while an index is rebuilt?",
    "why is a document in quarantine?",
    "how do I add a git repository as a source?",
    "what does the reranker do at its deadline?",
)


def command(data: Path, *arguments: str) -> list[str]:
    return [str(SEMANTIK), "--data-dir", str(data), *arguments]


def wait_for(server: subprocess.Popen[bytes], note: Path) -> None:
    """Wait until the server's owner file contains its URL."""
    while '"url"' not in (note.read_text("utf-8") if note.exists() else ""):
        if server.poll() is not None:
            raise SystemExit("the server did not start")
        time.sleep(0.05)


def ask(data: Path, question: str, *options: str) -> tuple[float, float, dict[str, Any]]:
    """Run one search. Returns its wall seconds, its CPU seconds and its answer."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    done = subprocess.run(command(data, "search", question, "--json", *options), capture_output=True, check=True)
    took = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return took, busy, json.loads(done.stdout)


def main() -> None:
    documents = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs"
    os.environ.pop("SEMANTIK_URL", None)
    with tempfile.TemporaryDirectory() as name:
        data = Path(name)
        subprocess.run(command(data, "index", str(documents)), check=True, stdout=subprocess.DEVNULL)
        server = subprocess.Popen(command(data, "serve", "--port", "0"), stderr=subprocess.DEVNULL)
        try:
            wait_for(server, data / "owner.json")
            plain = measured(data, "--no-rerank")
            reranked = measured(data, "--rerank")
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()
    print(json.dumps({"without_reranking": plain, "reranked": reranked}))


def measured(data: Path, option: str) -> dict[str, Any]:
    asked = [ask(data, question, option) for question in QUESTIONS][WARM:]
    assert all(answer["hits"] for _, _, answer in asked)
    return {
        "seconds": round(statistics.median(took for took, _, _ in asked), 3),
        "of": [round(took, 3) for took, _, _ in asked],
        "processor_seconds": round(statistics.median(busy for _, busy, _ in asked), 3),
        "server_ms": round(statistics.median(answer["timings_ms"]["total"] for _, _, answer in asked), 1),
    }


if __name__ == "__main__":
    main()
