"""The requirements for every connector, as a test class for authors.

Subclass :class:`ConnectorContract` (or :class:`IncrementalConnectorContract`, if it has ``enumerate`` and ``fetch``) in
your tests and give it your plugin, on a source of a few documents::

    class TestMine(ConnectorContract):
        def make_plugin(self):
            return MyConnector({"url": self.server.url})
"""

from __future__ import annotations

import asyncio
import inspect
import json
import pickle
from typing import Any

from semantik_pipeline.contracts import ConnectorPlugin
from semantik_pipeline.documents import Checkpoint, Complete, DocumentReference, IngestedDocument, Removal
from semantik_pipeline.errors import DocumentGone, DocumentUnreadable, PermanentError, SkipDocument

Event = DocumentReference | Removal | Checkpoint | Complete

#: Errors that ``fetch`` may raise instead of returning a document, and must raise again if called again.
_NO_DOCUMENT = (SkipDocument, PermanentError, DocumentGone, DocumentUnreadable)


def enumerated(plugin: ConnectorPlugin, cursor: Any = None) -> list[Event]:
    """All events of an enumeration, starting from this cursor."""

    async def collect() -> list[Event]:
        return [event async for event in plugin.enumerate(cursor)]

    return asyncio.run(collect())


def references(events: list[Event]) -> list[DocumentReference]:
    """The documents among the events of an enumeration."""
    return [event for event in events if isinstance(event, DocumentReference)]


def removals(events: list[Event]) -> list[Removal]:
    """The removals among the events of an enumeration."""
    return [event for event in events if isinstance(event, Removal)]


def fetched(plugin: ConnectorPlugin, reference: DocumentReference) -> IngestedDocument:
    """The document itself. ``fetch`` may be plain or async. Raises what it raises."""
    return asyncio.run(_fetch(plugin, reference))


async def _fetch(plugin: Any, reference: DocumentReference) -> IngestedDocument:
    document = plugin.fetch(reference)
    return await document if inspect.isawaitable(document) else document


def loaded(plugin: ConnectorPlugin) -> list[IngestedDocument]:
    """All documents that can be fetched, with either of the two interfaces of connectors."""
    if not is_incremental(plugin):
        return asyncio.run(_load(plugin))
    found = []
    for reference in references(enumerated(plugin)):
        try:
            found.append(fetched(plugin, reference))
        except _NO_DOCUMENT:
            continue
    return found


async def _load(plugin: ConnectorPlugin) -> list[IngestedDocument]:
    return [document async for document in plugin.load_documents()]


def is_incremental(plugin: ConnectorPlugin) -> bool:
    """Whether the connector implements ``enumerate`` and ``fetch``."""
    own = getattr(type(plugin), "enumerate", ConnectorPlugin.enumerate)
    return own is not ConnectorPlugin.enumerate


class ConnectorContract:
    """Tests that every connector must pass. The source must contain a document and must not change during the test."""

    def make_plugin(self) -> ConnectorPlugin:
        raise NotImplementedError("Return the plugin under test.")

    def test_documents_are_what_they_say(self) -> None:
        documents = loaded(self.make_plugin())
        assert documents, "the source under test has no document"
        for document in documents:
            document.check()
            assert document.unique_id and isinstance(document.unique_id, str)
            document.unique_id.encode("utf-8")
            json.dumps(document.metadata, allow_nan=False).encode("utf-8")
        ids = [document.unique_id for document in documents]
        assert len(ids) == len(set(ids)), "a unique id is given twice"

    def test_its_form_has_each_option_and_its_secrets_are_options(self) -> None:
        plugin = type(self.make_plugin())
        fields = {field["name"]: field for field in plugin.get_config_fields()}
        assert all({"type", "label", "required", "default"} <= set(field) for field in fields.values())
        assert set(plugin.get_secret_fields()) <= set(fields)

    def test_same_source_same_documents(self) -> None:
        assert loaded(self.make_plugin()) == loaded(self.make_plugin())


class IncrementalConnectorContract(ConnectorContract):
    """The same tests, and the additional ones for a connector with ``enumerate`` and ``fetch``.

    If its runs end with a cursor for the next one, give it :meth:`change` too.
    """

    def change(self) -> tuple[set[str], set[str]] | None:
        """Change the source. Returns the unique ids that are new or changed, and those that are gone."""
        return None

    def test_enumeration_ends_with_complete(self) -> None:
        events = enumerated(self.make_plugin())
        assert isinstance(events[-1], Complete) and events[-1].full
        assert not any(isinstance(event, Complete) for event in events[:-1])

    def test_unchanged_documents_keep_their_change_hints(self) -> None:
        plugin = self.make_plugin()
        assert references(enumerated(plugin)) == references(enumerated(self.make_plugin()))

    def test_concurrent_fetches_return_what_single_ones_return(self) -> None:
        plugin = self.make_plugin()
        named = references(enumerated(plugin))
        alone = [_outcome(plugin, reference) for reference in named]
        assert asyncio.run(_together(plugin, named * 4)) == alone * 4

    def test_every_checkpoint_resumes_right_behind_itself(self) -> None:
        self._check_resuming(enumerated(self.make_plugin()))

    def test_the_next_run_names_only_what_changed(self) -> None:
        before = enumerated(self.make_plugin())
        cursor = json.loads(json.dumps(before[-1].cursor))
        if cursor is None:
            return  # each run names every document
        still = enumerated(self.make_plugin(), cursor)
        if still[-1].full:
            assert references(still) == references(before), "a full run names everything"
            return
        assert not references(still) and not removals(still)
        named, gone = self.change() or (set(), set())
        assert named or gone, "change() has to change the source under test"
        events = enumerated(self.make_plugin(), cursor)
        assert {one.unique_id for one in references(events)} == named
        assert {one.unique_id for one in removals(events)} == gone
        assert not events[-1].full and events[-1].cursor != cursor
        after = {one.unique_id for one in references(before)} - gone | named
        assert {one.unique_id for one in references(enumerated(self.make_plugin()))} == after
        self._check_resuming(events)

    def _check_resuming(self, events: list[Event]) -> None:
        """Check that a new process that starts from any checkpoint gets the events after it."""
        for place, event in enumerate(events):
            if isinstance(event, Checkpoint):
                rest = enumerated(self.make_plugin(), json.loads(json.dumps(event.cursor)))
                assert references(rest) == references(events[place:])
                assert removals(rest) == removals(events[place:])
                assert rest[-1] == events[-1]

    def test_what_is_named_by_its_id_alone_can_be_fetched(self) -> None:
        plugin = self.make_plugin()
        for reference in references(enumerated(plugin))[:5]:
            bare = DocumentReference(reference.unique_id)
            assert _outcome(self.make_plugin(), bare) == _outcome(plugin, reference)

    def test_events_cross_process_borders(self) -> None:
        events = enumerated(self.make_plugin())
        assert pickle.loads(pickle.dumps(events)) == events

    def test_fetching_twice_gives_the_same(self) -> None:
        plugin = self.make_plugin()
        for reference in references(enumerated(plugin))[:20]:
            assert _outcome(plugin, reference) == _outcome(plugin, reference)

    def test_the_document_has_the_reference_s_id(self) -> None:
        plugin = self.make_plugin()
        for reference in references(enumerated(plugin))[:20]:
            answer = _outcome(plugin, reference)
            assert isinstance(answer, str) or answer.unique_id == reference.unique_id


async def _together(plugin: ConnectorPlugin, named: list[DocumentReference]) -> list[IngestedDocument | str]:
    """The outcomes of fetches that run on one event loop, as the host runs them."""
    places = asyncio.Semaphore(plugin.FETCH_CONCURRENCY)

    async def outcome(reference: DocumentReference) -> IngestedDocument | str:
        async with places:
            try:
                return await _fetch(plugin, reference)
            except _NO_DOCUMENT as error:
                return f"{type(error).__name__}: {error}"

    async with asyncio.timeout(60):
        return list(await asyncio.gather(*map(outcome, named)))


def _outcome(plugin: ConnectorPlugin, reference: DocumentReference) -> IngestedDocument | str:
    """The document, or the error that ``fetch`` raised in its place."""
    try:
        return fetched(plugin, reference)
    except _NO_DOCUMENT as error:
        return f"{type(error).__name__}: {error}"
