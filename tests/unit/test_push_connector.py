"""The connector of what callers give: it names nothing, and says what a document is."""

from __future__ import annotations

import asyncio

import pytest

from semantik_pipeline.builtin.connectors.push import PushConnector
from semantik_pipeline.documents import Complete, DocumentReference
from semantik_pipeline.errors import PermanentError


def test_it_names_nothing_and_proves_nobodys_absence() -> None:
    async def events() -> list[object]:
        return [event async for event in PushConnector().enumerate()]

    assert asyncio.run(events()) == [Complete(full=False)]
    with pytest.raises(PermanentError, match="Send it again"):
        asyncio.run(PushConnector().fetch(DocumentReference("a")))


@pytest.mark.parametrize(
    ("content", "name", "told", "found"),
    [
        ("words", None, None, "text/plain"),
        ("# words", None, "text/markdown", "text/markdown"),
        (b"%PDF-1.7 ...", "letter", "application/octet-stream", "application/pdf"),
        (b"plain words", "README", "", "text/plain"),
        (b"<p>words</p>", "page.html", "Text/HTML; charset=utf-8", "text/html"),
    ],
)
def test_a_media_type_that_says_nothing_is_found(content: str | bytes, name: str, told: str, found: str) -> None:
    document = PushConnector().receive(content, "a", file_name=name, media_type=told).check()
    assert (document.media_type, document.source_type, document.unique_id) == (found, "push", "a")


def test_a_file_keeps_its_name_and_a_callers_word_wins() -> None:
    document = PushConnector().receive(b"x", "a", file_name="in/notes.txt", metadata={"team": "ops"}, principals=["b"])
    assert document.metadata == {"file_name": "notes.txt", "team": "ops"}
    assert (document.file_path, document.principals) == ("in/notes.txt", ["b"])
