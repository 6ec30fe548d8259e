"""Where the enumeration of a source begins: the ``cursor`` of its row."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """``since``: where the last run that ended said that the next one begins (None: it names everything again).
    ``at``: the last checkpoint of the run in hand (None: its beginning). ``anew``: whatever the run in hand says, the next
    one names everything again.

    The first two mean something only to the connector of ``shape``, the fingerprint of plugin and options.
    """

    shape: str | None = None
    since: Any = None
    at: Any = None
    anew: bool = False

    @classmethod
    def of(cls, stored: Any) -> Cursor:
        """As it was stored. What an earlier version stored is not believed: the enumeration begins anew."""
        known = isinstance(stored, dict) and stored.keys() - {"anew"} == {"shape", "since", "at"}
        return cls(**stored) if known else cls()

    def stored(self) -> dict[str, Any]:
        told = asdict(self)
        return told if self.anew else {name: value for name, value in told.items() if name != "anew"}

    @property
    def start(self) -> Any:
        """What the connector is given."""
        return self.since if self.at is None else self.at

    def at_checkpoint(self, checkpoint: Any) -> Cursor:
        return replace(self, at=checkpoint)

    def at_run(self) -> Cursor:
        """Where a run begins now."""
        return Cursor(shape=self.shape) if self.anew else self

    def before_run(self) -> Cursor:
        """Where the next run begins, whatever became of the run in hand."""
        return replace(self, at=None)
