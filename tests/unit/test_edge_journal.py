"""A journal of updates never gets in their way."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from semantik_pipeline.builtin.stores.edge_journal import Journal

SAID = ("delete", ["a"], None)


def noted(journal: Journal, times: int = 1) -> None:
    for _ in range(times):
        with journal.noting(SAID):
            pass


def test_what_is_noted_is_given_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "updates")
    noted(journal, 2)
    assert journal.whole and list(journal.updates()) == [("delete", [["a"], None])] * 2
    noted(journal)
    assert journal.behind == 1 and len(list(journal.updates())) == 1 and journal.behind == 0
    journal.close()
    assert list(tmp_path.iterdir()) == []


def test_an_update_under_way_is_no_reason_to_give_a_journal_up_and_one_that_fails_is(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "updates")
    with journal.noting(SAID):
        assert journal.whole
    with pytest.raises(OSError, match="the engine"), journal.noting(SAID):
        raise OSError("the engine")
    assert not journal.whole
    noted(journal)
    assert not journal.whole and journal.behind == 1
    journal.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is full")
def test_a_journal_on_a_full_disk_can_be_closed(tmp_path: Path) -> None:
    (tmp_path / "updates").symlink_to("/dev/full")
    journal = Journal(tmp_path / "updates")
    noted(journal)
    assert not journal.whole
    journal.close()
    assert list(tmp_path.iterdir()) == []
    journal.close()


def test_a_journal_leaves_room_for_updates(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    little, plenty = (
        Journal(tmp_path / "little", least_free=2 * free),
        Journal(tmp_path / "plenty", least_free=free // 2),
    )
    for journal in (little, plenty):
        noted(journal)
    assert (little.whole, little.behind, plenty.whole) == (False, 0, True)
    little.close()
    plenty.close()
