"""Cursors: where the enumeration of a source starts or continues (column ``sources.cursor``)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """The cursor of a source. A run is one enumeration, which may take several slices.

    ``since``: start of the next run, given by the last run that ended (None: a full enumeration). ``at``: the last
    checkpoint of the current run (None: its start). ``anew``: the next run is a full enumeration, whatever the current
    run says.

    ``since`` and ``at`` are valid only for the connector with the fingerprint ``shape`` (of its plugin and options).
    """

    shape: str | None = None
    since: Any = None
    at: Any = None
    anew: bool = False

    @classmethod
    def of(cls, stored: Any) -> Cursor:
        """Return the stored cursor. A value in an earlier version's format is ignored: a full enumeration starts."""
        known = isinstance(stored, dict) and stored.keys() - {"anew"} == {"shape", "since", "at"}
        return cls(**stored) if known else cls()

    def stored(self) -> dict[str, Any]:
        told = asdict(self)
        return told if self.anew else {name: value for name, value in told.items() if name != "anew"}

    @property
    def start(self) -> Any:
        """The position passed to the connector."""
        return self.since if self.at is None else self.at

    def at_checkpoint(self, checkpoint: Any) -> Cursor:
        return replace(self, at=checkpoint)

    def at_run(self) -> Cursor:
        """Return the cursor for a run that starts now."""
        return Cursor(shape=self.shape) if self.anew else self

    def before_run(self) -> Cursor:
        """Return the cursor for the next run, without the current run's checkpoint."""
        return replace(self, at=None)
