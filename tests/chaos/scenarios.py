"""Courses that several chaos tests share: run an operation, freeze a worker in every stage, poison a document."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.account import check_account
from tests.chaos.corpora import make_corpus
from tests.chaos.fleet import Fleet
from tests.chaos.leases import held_by
from tests.chaos.operations import begin, progress_of, wait, wait_until_indexed
from tests.chaos.servers import until

#: Seconds that a run of 2,000 documents may take with its disturbances.
LONG = 400.0


def begin_run(fleet: Fleet, folder: Path, *, workers: int, documents: int) -> int:
    """Start a fleet and begin to index a new corpus; return the operation's id when 5 % of it is indexed."""
    fleet.start_scheduler()
    fleet.start_workers(workers)
    operation = begin(fleet, make_corpus(folder / "corpus", documents))
    wait_until_indexed(fleet, operation, documents // 20)
    assert fleet.without_torch()
    return operation


def finish_run(
    fleet: Fleet,
    operation: int,
    *,
    documents: int,
    disturb: Callable[[], None] | None = None,
    every: float = 3.0,
    poison: str | None = None,
    interruptions: int = 0,
) -> None:
    """Wait for the end of an operation, then check its counts and the account.

    Until then, ``disturb`` is called every ``every`` seconds. ``poison`` and ``interruptions`` are explained at
    :func:`check_account`.
    """
    progress = wait(fleet, operation, LONG, disturb, every)
    assert progress.outcome == ("succeeded" if poison is None else "degraded")
    found = progress.result["documents"]
    assert found["seen"] == found["new"] == documents and found["quarantined"] == (0 if poison is None else 1)
    check_account(fleet, expected=documents, poison=poison, interruptions=interruptions)


def sync_again(fleet: Fleet, corpus: Path) -> None:
    """Sync a folder that changed while it was synced once more; now the account must be in order."""
    expected = len(list(corpus.iterdir()))
    last = wait(fleet, begin(fleet, corpus, allow_deletions=True), LONG)
    assert last.outcome == "succeeded" and last.result["documents"]["seen"] == expected
    check_account(fleet, expected=expected)


def run_with_poison(fleet: Fleet, folder: Path, *, documents: int) -> None:
    """Index a corpus in which one document kills each process that embeds it. Dead processes are replaced.

    That document alone must end in quarantine, after at most one death in company and the configured attempts.
    """
    name = f"file{documents // 3:05}"
    corpus = make_corpus(folder / "corpus", documents)
    (corpus / f"{name}.txt").write_text("this text is the poison, and all processes that embed it die")
    fleet.configure(crash_on="poison")
    fleet.start_scheduler()
    fleet.start_workers(2)
    operation = begin(fleet, corpus)
    deaths = 0

    def replace() -> None:
        nonlocal deaths
        for worker in [one for one in fleet.workers if one.poll() is not None]:
            fleet.workers.remove(worker)
            fleet.start_worker()
            deaths += 1

    # one interruption, the death in company: a process that runs the suspect alone has nothing else to lose
    finish_run(fleet, operation, documents=documents, disturb=replace, every=0.3, poison=name, interruptions=1)
    [row] = fleet.semantik("documents", "list", "--status", "quarantined")["documents"]
    assert name in row["document"]
    attempts = fleet.max_attempts
    assert attempts <= deaths <= attempts + 1, f"{deaths} deaths"


def freeze_in_every_stage(fleet: Fleet, operation: int) -> None:
    """For each stage once, freeze a worker that holds units of the stage, and thaw it after its leases have expired.

    By then other workers may have claimed the units, and the thawed worker continues with them.
    """
    left = ["sync", "chunk", "extract", "upsert", "embed"]  # stages that run dry first are tried first
    while left and progress_of(fleet, operation).state != "finished":
        for stage in [*left]:
            victim = fleet.freeze_at(stage, seconds=0.5)
            if victim is None:
                continue
            left.remove(stage)
            pid = victim.pid
            until(lambda pid=pid: not held_by(fleet.ledger, pid), f"the units of {stage} are freed", 40)
            time.sleep(1)  # so that other workers claim them
            fleet.thaw(victim)
    assert not left, f"no worker was frozen in these stages: {left}"


@contextmanager
def ready_meanwhile(fleet: Fleet) -> Iterator[list[int]]:
    """Yield a list to which, during the block, the number of ready workers is added ten times a second."""
    counts, over = [fleet.count_ready()], threading.Event()

    def count() -> None:
        while not over.wait(0.1):
            counts.append(fleet.count_ready())

    counter = threading.Thread(target=count)
    counter.start()
    try:
        yield counts
    finally:
        over.set()
        counter.join()
