"""Sources: add, sync, pause, remove."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from semantik_pipeline.client.answers import OperationAccepted, Source, SourceList, SourcePreview
from semantik_pipeline.client.calls import Call, Pages, Resource, S, request


class Sources(Resource[S]):
    """``client.sources``.

    A schedule is ``{"every": "15m"}`` or ``{"cron": "0 3 * * *", "timezone": "Europe/Berlin"}``.
    """

    @request("sources_list", "GET /sources")
    def list(
        self, *, collection: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Call[SourceList]:
        """A page of sources."""
        return Call(query={"collection": collection, "limit": limit, "cursor": cursor})

    each: Pages[..., Source] = Pages(list, "sources")

    @request("sources_add", "POST /sources")
    def add(
        self, connector: str, name: str, *, config: Mapping[str, Any], collection: str = "default", **options: Any
    ) -> Call[Source]:
        """Add a source. ``options``: schedule, weight, principals."""
        return Call(
            json={"connector": connector, "name": name, "config": dict(config), "collection": collection, **options}
        )

    @request("sources_preview", "POST /sources/preview", repeatable=True)
    def preview(
        self,
        connector: str,
        config: Mapping[str, Any],
        *,
        collection: str = "default",
        limit: int = 10,
        timeout_seconds: float = 10.0,
    ) -> Call[SourcePreview]:
        """The first documents that a source would emit. Nothing is stored."""
        asked = {"connector": connector, "config": dict(config), "collection": collection}
        return Call(json={**asked, "limit": limit, "timeout_seconds": timeout_seconds})

    @request("sources_show", "GET /sources/{source_id}")
    def show(self, source_id: int) -> Call[Source]:
        """A source."""
        return Call(at={"source_id": source_id})

    @request("sources_update", "PATCH /sources/{source_id}")
    def update(self, source_id: int, *, if_match: str | None = None, **changes: Any) -> Call[Source]:
        """Change a source's name, config (replaces all options), schedule (None removes it), weight or principals.
        ``if_match``: raise ChangedMeanwhile unless the source's ``etag`` is this one."""
        tag = None if if_match is None else f'"{if_match}"'
        return Call(at={"source_id": source_id}, json=changes, headers={"If-Match": tag})

    @request("sources_sync", "POST /sources/{source_id}/sync")
    def sync(self, source_id: int, *, full: bool = False, allow_deletions: bool = False) -> Call[OperationAccepted]:
        """Sync a source now."""
        return Call(at={"source_id": source_id}, json={"full": full, "allow_deletions": allow_deletions})

    @request("sources_pause", "POST /sources/{source_id}/pause")
    def pause(self, source_id: int, *, reason: str = "paused by hand") -> Call[Source]:
        """Pause a source."""
        return Call(at={"source_id": source_id}, json={"reason": reason})

    @request("sources_resume", "POST /sources/{source_id}/resume")
    def resume(self, source_id: int, *, allow_deletions: bool = False) -> Call[Source]:
        """Resume a source."""
        return Call(at={"source_id": source_id}, json={"allow_deletions": allow_deletions})

    @request("sources_remove", "DELETE /sources/{source_id}")
    def remove(self, source_id: int, *, purge: bool = False) -> Call[OperationAccepted]:
        """Remove a source and its documents. They go to the trash, unless ``purge`` is set."""
        return Call(at={"source_id": source_id}, query={"purge": purge})

    @request("sources_restore", "POST /sources/{source_id}/restore")
    def restore(self, source_id: int) -> Call[OperationAccepted]:
        """Restore a source and its documents from the trash."""
        return Call(at={"source_id": source_id})
