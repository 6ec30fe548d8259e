"""Collections: create, configure, delete, reindex."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semantik_pipeline.client.answers import (
    Collection,
    CollectionDetail,
    CollectionList,
    DeletedCollection,
    ImportAccepted,
    OperationAccepted,
    ReindexPlan,
    RenamedCollection,
    RerunPlan,
    RestoredCollection,
    RollbackResult,
    VerifyResult,
)
from semantik_pipeline.client.calls import Call, Pages, Resource, S, Upload, request

#: Seconds for the first byte of an export, which is written before it is sent, and for the response to an import.
TRANSFER = 3600.0


#: Seconds for a response that examines every document, or compares some of them point by point and repairs them.
LOOKING = 600.0


class Collections(Resource[S]):
    """``client.collections``. ``changes`` are new values by dotted names; None resets a value to its default."""

    @request("collections_list", "GET /collections")
    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Call[CollectionList]:
        """A page of collections."""
        return Call(query={"limit": limit, "cursor": cursor})

    each: Pages[..., Collection] = Pages(list, "collections")

    @request("collections_create", "POST /collections")
    def create(
        self, name: str, *, config: Mapping[str, Any] | None = None, changes: Mapping[str, Any] | None = None
    ) -> Call[CollectionDetail]:
        """Create a collection. Options that are left out come from the server's settings."""
        return Call(json={"name": name, "config": dict(config or {}), "changes": dict(changes or {})})

    @request("collections_show", "GET /collections/{name}")
    def show(self, name: str) -> Call[CollectionDetail]:
        """A collection in detail."""
        return Call(at={"name": name})

    @request("collections_configure", "PATCH /collections/{name}")
    def configure(
        self, name: str, changes: Mapping[str, Any], *, if_match: str | None = None
    ) -> Call[CollectionDetail]:
        """Change a collection's configuration. ``if_match``: raise ChangedMeanwhile unless its ``etag`` is this one."""
        tag = None if if_match is None else f'"{if_match}"'
        return Call(at={"name": name}, json={"changes": dict(changes)}, headers={"If-Match": tag})

    @request("collections_rename", "POST /collections/{name}/rename")
    def rename(self, name: str, new_name: str) -> Call[RenamedCollection]:
        """Rename a collection."""
        return Call(at={"name": name}, json={"name": new_name})

    @request("collections_delete", "DELETE /collections/{name}")
    def delete(self, name: str, *, purge: bool = False) -> Call[DeletedCollection]:
        """Delete a collection. It goes to the trash, unless ``purge`` is set."""
        return Call(at={"name": name}, query={"purge": purge})

    @request("collections_restore", "POST /collections/{name}/restore")
    def restore(self, name: str) -> Call[RestoredCollection]:
        """Restore a collection from the trash."""
        return Call(at={"name": name})

    @request("collections_plan_reindex", "POST /collections/{name}/reindex/plan", repeatable=True)
    def plan_reindex(self, name: str, changes: Mapping[str, Any] | None = None) -> Call[ReindexPlan]:
        """Estimate the cost of a reindex. Nothing is written."""
        return Call(at={"name": name}, json={"changes": dict(changes or {})})

    @request("collections_reindex", "POST /collections/{name}/reindex")
    def reindex(
        self,
        name: str,
        changes: Mapping[str, Any] | None = None,
        *,
        accept_losses: bool = False,
        force: bool = False,
    ) -> Call[OperationAccepted]:
        """Build a new index next to the current one, and switch to it when it has passed its checks."""
        asked = {"changes": dict(changes or {}), "accept_losses": accept_losses, "force": force}
        return Call(at={"name": name}, json=asked)

    @request("collections_rerun", "POST /collections/{name}/rerun")
    def rerun(self, name: str, where: Mapping[str, Any], *, fresh: bool = False) -> Call[OperationAccepted]:
        """Process documents that match a filter again, in the current index."""
        return Call(at={"name": name}, json={"where": dict(where), "fresh": fresh}, timeout=LOOKING)

    @request("collections_plan_rerun", "POST /collections/{name}/rerun/plan", repeatable=True)
    def plan_rerun(self, name: str, where: Mapping[str, Any]) -> Call[RerunPlan]:
        """Count the documents that a rerun would process. Nothing is written."""
        return Call(at={"name": name}, json={"where": dict(where)}, timeout=LOOKING)

    @request("collections_verify", "POST /collections/{name}/verify", repeatable=True)
    def verify(
        self, name: str, *, repair: bool = False, only_if_incomplete: bool = False, cursor: str | None = None
    ) -> Call[VerifyResult]:
        """Compare a part of the ledger with the index, from ``cursor`` on; ``repair`` repairs differences.

        ``only_if_incomplete``: only if the index holds fewer points than it should, which takes two counts to find out.
        """
        return Call(
            at={"name": name},
            json={"repair": repair, "only_if_incomplete": only_if_incomplete, "cursor": cursor},
            timeout=LOOKING,
        )

    @request("collections_export", "GET /collections/{name}/export")
    def export(self, name: str, file: Path) -> Call[Path]:
        """Export a collection to a file, compressed with gzip if the name ends in ``gz``. Returns the file. An
        interrupted export leaves no file."""
        query = {"gzip": True} if file.name.endswith("gz") else {}
        return Call(at={"name": name}, query=query, into=file, timeout=TRANSFER)

    @request("collections_import", "POST /collections/import")
    def import_(self, file: Path, *, name: str | None = None) -> Call[ImportAccepted]:
        """Create a collection from an export, under the name ``name`` if given."""
        form = {} if name is None else {"name": name}
        return Call(files=[Upload(name=file.name, content=file)], form=form, timeout=TRANSFER)

    @request("collections_rollback", "POST /collections/{name}/rollback")
    def rollback(self, name: str, *, force: bool = False) -> Call[RollbackResult]:
        """Switch back to the previous index. ``force``: even if its embedding model is not available on the server."""
        return Call(at={"name": name}, query={"force": True} if force else {})
