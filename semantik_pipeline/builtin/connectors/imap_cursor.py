"""What is remembered of a mailbox between two runs and during a run.

UIDs are needed to notice that messages are gone, the sections of attachments to name them for removal, and flags to
notice changed flags if the server cannot report them. They are kept for each folder, with the UIDs of equal flags as
ranges ("1:4711,4713"), and compressed. A folder of a hundred thousand messages with gaps and attachments takes less
than half a megabyte; a folder without them takes a few bytes. Only the folder that is being read is expanded in memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from semantik_pipeline.builtin.connectors.packed import packed, unpacked

#: Maps a UID to the sections of its attachments.
Sections = dict[int, list[str]]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """The state of a folder: the next UID, the number of messages, and (with CONDSTORE) the number of its last
    change."""

    next_uid: int
    exists: int
    modseq: int | None = None


@dataclass(kw_only=True)
class Folder:
    """What is known about a folder. ``mark`` is its state when it was last read completely; None if it never was."""

    validity: int
    mark: Mark | None = None
    uids: dict[int, str] = field(default_factory=dict)  # UID -> flags
    sections: Sections = field(default_factory=dict)
    old_uids: set[int] = field(default_factory=set)  # named under an earlier UIDVALIDITY
    old_sections: Sections = field(default_factory=dict)

    def renumbered(self, validity: int) -> Folder:
        """The folder under a new UIDVALIDITY: nothing is known about it, except the names that may no longer be
        valid."""
        return Folder(
            validity=validity,
            old_uids=set(self.uids) | self.old_uids,
            old_sections={**self.old_sections, **self.sections},
        )

    def row(self) -> list[Any]:
        mark = list(asdict(self.mark).values()) if self.mark else None
        return [
            *(self.validity, mark),
            *(_by_flags(self.uids), _texts(self.sections)),
            *(ranges(self.old_uids), _texts(self.old_sections)),
        ]

    @classmethod
    def of(cls, row: list[Any]) -> Folder:
        validity, mark, uids, sections, old_uids, old_sections = row
        return cls(
            validity=validity,
            mark=Mark(next_uid=mark[0], exists=mark[1], modseq=mark[2]) if mark else None,
            uids={uid: flags for flags, found in uids.items() for uid in numbers(found)},
            sections=_sections(sections),
            old_uids=set(numbers(old_uids)),
            old_sections=_sections(old_sections),
        )


@dataclass(frozen=True, kw_only=True)
class Place:
    """The place of a run: the folder, the last UID that is done, and the folder's state when the run started to read
    it."""

    folder: str
    uid: int
    mark: Mark


@dataclass(kw_only=True)
class Progress:
    """The progress of a run. ``rows`` holds the folders in compact form. ``everything`` means that the run names all
    messages, not only changes."""

    rows: dict[str, list[Any]] = field(default_factory=dict)
    place: Place | None = None
    everything: bool = True
    full: bool = True

    @classmethod
    def of(cls, cursor: Any) -> Progress:
        """The interrupted run, or a new one that starts with what the last run remembered. Without a cursor, the new
        run names everything."""
        told = cursor if isinstance(cursor, dict) else {}
        if "last" in told:
            return cls(rows=unpacked(told["last"]), everything=False)
        if "run" not in told:
            return cls()
        rows, place, everything, full = unpacked(told["run"])
        mark = Mark(next_uid=place[2], exists=place[3], modseq=place[4])
        return cls(rows=rows, place=Place(folder=place[0], uid=place[1], mark=mark), everything=everything, full=full)

    def checkpoint(self) -> dict[str, str]:
        assert self.place is not None
        mark = asdict(self.place.mark).values()
        return {"run": packed([self.rows, [self.place.folder, self.place.uid, *mark], self.everything, self.full])}

    def last(self) -> dict[str, str]:
        """The cursor with which the next run starts."""
        return {"last": packed(self.rows)}


def ranges(numbers: Iterable[int]) -> str:
    """Write numbers as ranges: 1, 2, 3, 7 becomes "1:3,7". IMAP calls this a sequence set."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(low) if low == high else f"{low}:{high}" for low, high in parts)


def numbers(text: str) -> Iterable[int]:
    """The inverse of :func:`ranges`."""
    for part in filter(None, text.split(",")):
        low, _, high = part.partition(":")
        yield from range(int(low), int(high or low) + 1)


def _by_flags(uids: dict[int, str]) -> dict[str, str]:
    found: dict[str, list[int]] = {}
    for uid, flags in uids.items():
        found.setdefault(flags, []).append(uid)
    return {flags: ranges(found[flags]) for flags in sorted(found)}


def _texts(sections: Sections) -> dict[str, str]:
    return {str(uid): " ".join(found) for uid, found in sections.items()}


def _sections(texts: dict[str, str]) -> Sections:
    return {int(uid): text.split(" ") for uid, text in texts.items()}
