"""The progress display of an operation, on standard error: bars on a terminal, periodic lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from semantik_pipeline.cli.pace import STAGES, Pace, Sample, sample
from semantik_pipeline.cli.wording import counted, duration, printable

if TYPE_CHECKING:
    from semantik_pipeline.ledger.operations.lifecycle import Progress

#: Seconds before anything is shown, so that a quick run shows nothing and does not import the display.
PATIENCE = 0.7

#: Seconds between two lines without a terminal.
LINE_EVERY = 10.0


class Display(Protocol):
    """Shows samples. ``note`` says why the operation makes no progress. ``close`` restores the terminal."""

    def show(self, now: Sample, pace: Pace, note: str) -> None: ...

    def close(self) -> None: ...


class Watch:
    """Receives progress reports while an operation runs, and displays them once it has taken ``PATIENCE`` seconds."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._pace = Pace()
        self._display: Display | None = None

    def __call__(self, progress: Progress) -> None:
        now = sample(time.monotonic(), progress)
        self._pace.add(now)
        if self._display is None and now.at - self._began > PATIENCE:
            self._display = Bars() if sys.stderr.isatty() else Lines()
        if self._display is not None:
            self._display.show(now, self._pace, _note(progress))

    def close(self) -> None:
        if self._display is not None:
            self._display.close()


def _note(progress: Progress) -> str:
    """Return why the operation makes no progress, in a few words; an empty string if it makes progress."""
    if progress.state == "paused":
        return f"paused; resume with `semantik operations resume {progress.operation_id}`"
    if progress.state == "cancelling":
        return "cancelling"
    if progress.phase == "verifying":
        return "verifying the new index"
    return f"blocked: {printable(progress.reason)}" if progress.reason else ""


@contextmanager
def watching() -> Iterator[Watch]:
    """Yield a watch to pass to ``operations.wait``. Its display is closed when the block ends."""
    watch = Watch()
    try:
        yield watch
    finally:
        watch.close()


class Bars:
    """One bar for each stage, with counts, the embedding rate and the remaining time."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Live

        columns = (TextColumn("{task.description:<10}"), BarColumn(bar_width=32), TextColumn("{task.fields[text]}"))
        self._live = Live(*columns, console=Console(stderr=True, highlight=False), transient=True)
        self._reading = self._live.add_task("reading", total=None, text="")
        self._stages = {stage: self._live.add_task(name, total=1.0, text="") for stage, name in STAGES.items()}
        self._live.start()

    def show(self, now: Sample, pace: Pace, note: str) -> None:
        read: dict[str, Any] = {} if now.reading else {"total": 1.0, "completed": 1.0}
        self._live.update(self._reading, text=note or f"{counted(now.seen, 'document')} seen", **read)
        for stage, task in self._stages.items():
            self._live.update(task, completed=now.share(stage), text=_text(stage, now, pace))

    def close(self) -> None:
        self._live.stop()


def _text(stage: str, now: Sample, pace: Pace) -> str:
    text = f"{now.done[stage]:,} of {now.documents:,}"
    if stage == "embed" and now.embedded:
        text += f"   {counted(now.embedded, 'chunk')}, {pace.chunks_per_second:,.0f}/s"
    slowest = pace.bottleneck()
    return text + (f"   {_left(slowest[1])}" if slowest is not None and slowest[0] == stage else "")


def _left(seconds: float) -> str:
    return f"about {duration(max(10.0, seconds))} left" if seconds >= 5 else "nearly done"


class Lines:
    """Prints a line every ``LINE_EVERY`` seconds, and whenever the operation stops or continues."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._note = ""

    def show(self, now: Sample, pace: Pace, note: str) -> None:
        if now.at - self._last < LINE_EVERY and note == self._note:
            return
        self._last, self._note = now.at, note
        if note:
            print(note, file=sys.stderr, flush=True)
            return
        parts = [f"{now.seen:,} seen"] if now.seen else []
        parts += [f"{STAGES[stage]} {now.done[stage]:,}/{now.documents:,}" for stage in STAGES]
        parts.append(f"{counted(now.embedded, 'chunk')} embedded ({pace.chunks_per_second:,.0f}/s)")
        slowest = pace.bottleneck()
        if slowest is not None:
            parts.append(f"{_left(slowest[1])} ({STAGES[slowest[0]]})")
        print(", ".join(parts), file=sys.stderr, flush=True)

    def close(self) -> None:
        """Do nothing: the printed lines stay."""
