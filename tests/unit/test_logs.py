"""Log lines: as JSON or for people, with the ids of what they are about, and nothing that should not be told."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from semantik_pipeline import logs
from semantik_pipeline.settings import Logs

log = logging.getLogger("semantik_pipeline.somewhere")


class Written:
    """What was written to standard error since the last look."""

    def __init__(self, captured: pytest.CaptureFixture[str]) -> None:
        self.text = lambda: captured.readouterr().err

    def line(self) -> dict[str, Any]:
        """The one line, as JSON."""
        (only,) = self.text().splitlines()
        return json.loads(only)


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Iterator[Written]:
    """Standard error of this test; logging is as it was before, afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in logs.OURS}
    root.handlers.clear()  # pytest's own: configuring would close them
    yield Written(capsys)
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


def test_a_json_line_says_when_who_and_about_what(written: Written) -> None:
    logs.configure(Logs(format="json"))
    with logs.bound(stage="embed", operation=7), logs.bound(document="file:///ä.txt", operation=None):
        log.info("It has %d chunks.", 3)
    line = written.line()
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "info",
        "logger": "semantik_pipeline.somewhere",
        "message": "It has 3 chunks.",
        "worker": logs.worker_id(),
        "stage": "embed",
        "operation": 7,
        "document": "file:///ä.txt",
    }
    log.info("Later.")
    assert not {"stage", "document", "operation"} & set(written.line())


def test_one_document_of_several_takes_their_place(written: Written) -> None:
    logs.configure(Logs(format="json"))
    with logs.bound(documents=["a", "b"]), logs.bound(document="b"):
        log.warning("It failed.")
    line = written.line()
    assert line["document"] == "b" and "documents" not in line


def test_threads_carry_the_ids_where_they_are_asked_to(written: Written) -> None:
    logs.configure(Logs(format="json"))
    with logs.bound(stage="embed"):
        for work in (logs.carried(log.info), log.info):
            thread = threading.Thread(target=work, args=("In a thread.",))
            thread.start()
            thread.join()
    first, second = map(json.loads, written.text().splitlines())
    assert first["stage"] == "embed" and "stage" not in second


def test_an_exception_is_one_field(written: Written) -> None:
    logs.configure(Logs(format="json"))
    try:
        raise ValueError("two\nlines")
    except ValueError:
        log.exception("It broke.")
    line = written.line()
    assert line["message"] == "It broke." and "ValueError: two\nlines" in line["exception"]


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_secret_and_no_lone_surrogate_is_written(written: Written, form: Any) -> None:
    logs.configure(Logs(format=form))
    key = "sk-" + "aB3dE6gH9jK2mN5pQ8sT1vW4" * 2
    with logs.bound(document="bad\udc80name"):
        log.warning("%s was refused by postgresql://ada:%s@db/x; \ud800", key, "hunter2")
    text = written.text()
    assert key not in text and "hunter2" not in text
    text.encode("utf-8")
    assert len(text.splitlines()) == 1 and "was refused" in text


def test_levels_are_ours_and_libraries_only_warn(written: Written) -> None:
    logs.configure(Logs(level="warning"))
    log.info("Too much.")
    logs.configure(Logs(level="debug"))
    log.debug("Wanted.")
    logging.getLogger("httpx").info("a request")
    text = written.text()
    assert "Wanted." in text and "Too much." not in text and "a request" not in text


def test_a_line_for_people_ends_with_the_ids(written: Written) -> None:
    logs.configure(Logs())
    with logs.bound(stage="chunk", document="notes.txt"):
        log.info("two\nlines")
    text = written.text()
    assert text.endswith("INFO semantik_pipeline.somewhere: two\\nlines [stage=chunk document=notes.txt]\n")
