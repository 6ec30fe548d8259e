"""What a connector would emit, before anybody adds the source: asked for some seconds, and stored nowhere."""

from __future__ import annotations

import asyncio
import copy
import inspect
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from semantik_pipeline.contracts import ConnectorPlugin
from semantik_pipeline.documents import DocumentReference, IngestedDocument
from semantik_pipeline.errors import CredentialsRejected, PermanentError, PipelineError, ServiceUnavailable
from semantik_pipeline.plugins import configuration as configured
from semantik_pipeline.plugins.secrets import scrub
from semantik_pipeline.plugins.shape import accepted

if TYPE_CHECKING:
    from semantik_pipeline.plugins.registry import LoadedPlugin
    from semantik_pipeline.runtime import Runtime

log = logging.getLogger(__name__)

#: Previews at once in this process; a connector that hangs keeps its place.
AT_ONCE = 4

#: Characters of a document's text that are shown.
SHOWN = 500

_places = threading.BoundedSemaphore(AT_ONCE)


@dataclass(frozen=True, kw_only=True)
class Emitted:
    """A document that the connector would emit. ``text`` is the beginning of one whose content is text; ``error``
    says why it could not be read."""

    document: str
    size: int | None = None
    media_type: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    text: str | None = None
    error: str | None = None


@dataclass(kw_only=True)
class Preview:
    """The first documents. ``complete``: that is all; ``stopped_by`` says why it is not: ``limit`` or ``time``."""

    documents: list[Emitted] = field(default_factory=list)
    complete: bool = False
    stopped_by: str | None = None


def preview(
    runtime: Runtime, connector: str, config: dict[str, Any], *, limit: int = 10, seconds: float = 10.0
) -> Preview:
    """The first ``limit`` documents that a source of this connector and these options would emit, or as many as come in
    these seconds. Nothing is stored; a connector may keep its own cache, as it does for a sync.

    Raises PluginNotFoundError, PluginConfigError, CredentialsRejected, and what the connector raises before it emitted
    anything; ServiceUnavailable while as many previews as fit are in hand.
    """
    loaded = runtime.host.registry.get(connector, "connector")
    options = runtime.host.effective_config(connector, config, kind="connector")
    resolved = configured.resolve_env(options, configured.schema_of(loaded), plugin_id=loaded.id)
    found, places = Preview(), _places
    if not places.acquire(blocking=False):
        raise ServiceUnavailable(f"{AT_ONCE} previews are already running.", "Try again later.", retry_after=seconds)
    ended: list[Exception] = []

    def work() -> None:
        try:
            asyncio.run(_within(loaded, resolved, found, limit, seconds))
        except Exception as error:  # a connector may raise anything
            ended.append(error)
        finally:
            places.release()

    thread = threading.Thread(target=work, name=f"preview-{loaded.id}", daemon=True)
    thread.start()
    thread.join(seconds + 1.0)  # a moment for a connector to close what it opened; one that blocks is left behind
    seen = list(found.documents)
    if ended and not seen and not isinstance(ended[0], TimeoutError):
        raise _told(ended[0], connector)
    out_of_time = thread.is_alive() or any(isinstance(error, TimeoutError) for error in ended)
    return Preview(
        documents=seen[:limit], complete=found.complete, stopped_by="time" if out_of_time else found.stopped_by
    )


async def _within(loaded: LoadedPlugin, resolved: dict[str, Any], found: Preview, limit: int, seconds: float) -> None:
    """Fill ``found``. A loop of its own, so that a connector that blocks harms no sync."""
    async with asyncio.timeout(seconds):
        connector: Any = loaded.cls(resolved)
        try:
            await _done(connector.initialize(**accepted(connector.initialize, {"config": dict(resolved)})))
            await _done(connector.validate_config())
            if not await _done(connector.authenticate()):
                raise CredentialsRejected(f"{loaded.id} was refused access.", "Check the credentials.")
            async for one in _documents(connector):
                if len(found.documents) >= limit:
                    found.stopped_by = "limit"
                    return
                found.documents.append(one)
            found.complete = True
        finally:
            with suppress(Exception):
                await _done(connector.cleanup())


async def _documents(connector: Any) -> AsyncIterator[Emitted]:
    if type(connector).enumerate is ConnectorPlugin.enumerate:
        async for document in await _done(connector.load_documents()):
            yield _of(document)
        return
    async for event in await _done(connector.enumerate()):
        if isinstance(event, IngestedDocument):
            yield _of(event)
        elif isinstance(event, DocumentReference):
            yield await _fetched(connector, event)


async def _done(said: Any) -> Any:
    """What a plugin's method said, plain or async."""
    return await said if inspect.isawaitable(said) else said


async def _fetched(connector: Any, reference: DocumentReference) -> Emitted:
    try:
        return _of(await _done(connector.fetch(reference)))
    except PipelineError as error:
        return Emitted(
            document=reference.unique_id,
            size=reference.size,
            media_type=reference.media_type,
            metadata=dict(reference.metadata),
            error=scrub(str(error)),
        )


def _of(document: IngestedDocument) -> Emitted:
    body = document.check().body
    text = document.content if isinstance(document.content, str) else _as_text(body[: 4 * SHOWN])
    return Emitted(
        document=document.unique_id,
        size=len(body),
        media_type=document.media_type,
        metadata=dict(document.metadata),
        text=text[:SHOWN] if text is not None else None,
    )


def _as_text(beginning: bytes) -> str | None:
    """The beginning of a text, the last character of which may be cut; None for what is no text."""
    if b"\0" in beginning:
        return None
    try:
        return beginning.decode()
    except UnicodeDecodeError as error:
        return beginning[: error.start].decode() if error.start > len(beginning) - 4 else None


def _told(error: Exception, connector: str) -> Exception:
    if isinstance(error, PipelineError):
        told = copy.copy(error)  # with all else that it says: when to come back, what there is instead
        told.message = scrub(error.message)
        told.args = (told.message,)
        return told
    log.warning("The connector %s failed in a preview.", connector, exc_info=error)
    what = scrub(f"{type(error).__name__}: {error}")
    return PermanentError(f"The connector {connector!r} failed: {what}", "Check its options.")
