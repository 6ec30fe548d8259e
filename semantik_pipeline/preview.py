"""Preview of a source before it is added: runs the connector for a few seconds and stores nothing."""

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

#: Maximum number of previews at the same time in this process; a connector that hangs keeps its slot.
AT_ONCE = 4

#: Number of characters of a document's text that a preview shows.
SHOWN = 500

_places = threading.BoundedSemaphore(AT_ONCE)


@dataclass(frozen=True, kw_only=True)
class Emitted:
    """A document that the connector would emit.

    ``text`` is the beginning of the content if it is text; ``error`` is why the document could not be read.
    """

    document: str
    size: int | None = None
    media_type: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    text: str | None = None
    error: str | None = None


@dataclass(kw_only=True)
class Preview:
    """The first documents. ``complete``: there are no others; otherwise ``stopped_by`` is ``limit`` or ``time``."""

    documents: list[Emitted] = field(default_factory=list)
    complete: bool = False
    stopped_by: str | None = None


def preview(
    runtime: Runtime, connector: str, config: dict[str, Any], *, limit: int = 10, seconds: float = 10.0
) -> Preview:
    """Return the first documents that a source with this connector and these options would emit.

    It stops after ``limit`` documents or ``seconds`` seconds. Nothing is stored, except in a cache of the connector's
    own, as in a sync.

    Raises PluginNotFoundError, PluginConfigError, CredentialsRejected, any error that the connector raises before the
    first document, and ServiceUnavailable if the maximum number of previews is running.
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
        except Exception as error:  # a connector may raise any exception
            ended.append(error)
        finally:
            places.release()

    thread = threading.Thread(target=work, name=f"preview-{loaded.id}", daemon=True)
    thread.start()
    thread.join(seconds + 1.0)  # one more second for the connector to close; a thread that blocks is abandoned
    seen = list(found.documents)
    if ended and not seen and not isinstance(ended[0], TimeoutError):
        raise _told(ended[0], connector)
    out_of_time = thread.is_alive() or any(isinstance(error, TimeoutError) for error in ended)
    return Preview(
        documents=seen[:limit], complete=found.complete, stopped_by="time" if out_of_time else found.stopped_by
    )


async def _within(loaded: LoadedPlugin, resolved: dict[str, Any], found: Preview, limit: int, seconds: float) -> None:
    """Fill ``found``. It runs in its own event loop, so that a connector that blocks does not delay a sync."""
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
    """Return the result of a plugin's method, plain or async."""
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
    """Decode the beginning of a text, whose last character may be cut off; None if it is not text."""
    if b"\0" in beginning:
        return None
    try:
        return beginning.decode()
    except UnicodeDecodeError as error:
        return beginning[: error.start].decode() if error.start > len(beginning) - 4 else None


def _told(error: Exception, connector: str) -> Exception:
    if isinstance(error, PipelineError):
        told = copy.copy(error)  # keeps the other attributes, such as retry_after
        told.message = scrub(error.message)
        told.args = (told.message,)
        return told
    log.warning("The connector %s failed in a preview.", connector, exc_info=error)
    what = scrub(f"{type(error).__name__}: {error}")
    return PermanentError(f"The connector {connector!r} failed: {what}", "Check its options.")
