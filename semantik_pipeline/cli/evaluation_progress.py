"""Progress of an evaluation, with its rate and remaining time: a bar on a terminal, periodic lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from semantik_pipeline.cli.invocation import Invocation
from semantik_pipeline.cli.wording import duration

#: Seconds between two lines without a terminal, and between two updates of the bar.
LINE_EVERY, BAR_EVERY = 10.0, 0.2


@contextmanager
def metered(call: Invocation, noun: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function to call with the number done and the total. The bar disappears when the block ends."""
    meter = _Bar() if sys.stderr.isatty() else _Lines(call)
    began: tuple[float, int] | None = None  # set after the first answers, since those waited for models to load
    last = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal began, last
        now = time.monotonic()
        if now - last >= meter.every or done == total:
            last = now
            pace = (done - began[1]) / (now - began[0]) if began is not None and now > began[0] else None
            meter.show(done, total, _text(done, total, noun, pace))
        began = began or (now, done)

    try:
        yield tell
    finally:
        meter.close()


def _text(done: int, total: int, noun: str, pace: float | None) -> str:
    """Format the progress. ``pace`` is the number per second, or None if it is not known yet."""
    if not pace:
        return f"{done:,} of {total:,} {noun}"
    left = f", about {duration(max(1.0, (total - done) / pace))} left" if done < total else ""
    return f"{done:,} of {total:,} {noun}, {pace:,.1f}/s{left}"


class _Lines:
    every = LINE_EVERY

    def __init__(self, call: Invocation) -> None:
        self._call = call

    def show(self, done: int, total: int, text: str) -> None:
        self._call.say(f"searched {text}")

    def close(self) -> None:
        """Do nothing: the printed lines stay."""


class _Bar:
    every = BAR_EVERY

    def __init__(self) -> None:
        self._live: Any = None

    def show(self, done: int, total: int, text: str) -> None:
        if self._live is None:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            columns = (TextColumn("searching"), BarColumn(bar_width=32), TextColumn("{task.fields[text]}"))
            self._live = Progress(*columns, console=Console(stderr=True, highlight=False), transient=True)
            self._task = self._live.add_task("searching", total=total, text=text)
            self._live.start()
        self._live.update(self._task, completed=done, text=text)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
