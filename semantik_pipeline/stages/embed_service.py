"""The embedding service for semantic chunkers: a chunker in a child process asks the parent for vectors.

The vectors come from the generation's own model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from semantik_pipeline.stages.claims import READY
from semantik_pipeline.stages.embedder_errors import blame, leave, unready

if TYPE_CHECKING:
    from semantik_pipeline.runtime import Runtime


def embed_service(runtime: Runtime, generation_id: int) -> Callable[[list[str]], Any]:
    """Return a function that embeds texts. It raises errors as classified in ``stages/embedder_errors.py``."""

    def embed(texts: list[str]) -> Any:
        try:
            embedder = runtime.embedder(generation_id)
        except Exception as error:
            leave(runtime, generation_id, "chunk", error)
            raise unready(runtime, generation_id, error) from error

        def call(some: list[str]) -> Any:
            return runtime.host.call(embedder.embed_texts, some, batch_size=runtime.settings.embed.batch_size)

        try:
            return call(texts)
        except Exception as error:
            raise blame(runtime, generation_id, error, lambda: call([READY])) from error

    return embed
