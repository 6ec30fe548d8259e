"""Collections: made, configured, deleted; their indexes built anew."""

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

#: Seconds for the first byte of an export, which is written before it is sent, and for the answer to an import.
TRANSFER = 3600.0


#: Seconds for an answer that looks at every document, or at a slice of them point by point and mends it.
LOOKING = 600.0


class Collections(Resource[S]):
    """``client.collections``. ``changes`` are dotted names and what they are to be; None unsets."""

    @request("collections_list", "GET /collections")
    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Call[CollectionList]:
        """A page of what there is to search."""
        return Call(query={"limit": limit, "cursor": cursor})

    each: Pages[..., Collection] = Pages(list, "collections")

    @request("collections_create", "POST /collections")
    def create(
        self, name: str, *, config: Mapping[str, Any] | None = None, changes: Mapping[str, Any] | None = None
    ) -> Call[CollectionDetail]:
        """Make one. What is not said is as the server's settings have it."""
        return Call(json={"name": name, "config": dict(config or {}), "changes": dict(changes or {})})

    @request("collections_show", "GET /collections/{name}")
    def show(self, name: str) -> Call[CollectionDetail]:
        """All about one."""
        return Call(at={"name": name})

    @request("collections_configure", "PATCH /collections/{name}")
    def configure(
        self, name: str, changes: Mapping[str, Any], *, if_match: str | None = None
    ) -> Call[CollectionDetail]:
        """Change what it is to be made of. ``if_match``: only if its ``etag`` is still this one, else ChangedMeanwhile."""
        tag = None if if_match is None else f'"{if_match}"'
        return Call(at={"name": name}, json={"changes": dict(changes)}, headers={"If-Match": tag})

    @request("collections_rename", "POST /collections/{name}/rename")
    def rename(self, name: str, new_name: str) -> Call[RenamedCollection]:
        """Call it otherwise."""
        return Call(at={"name": name}, json={"name": new_name})

    @request("collections_delete", "DELETE /collections/{name}")
    def delete(self, name: str, *, purge: bool = False) -> Call[DeletedCollection]:
        """Hide it at once. It rests in the trash, unless it is purged."""
        return Call(at={"name": name}, query={"purge": purge})

    @request("collections_restore", "POST /collections/{name}/restore")
    def restore(self, name: str) -> Call[RestoredCollection]:
        """Bring it back from the trash."""
        return Call(at={"name": name})

    @request("collections_plan_reindex", "POST /collections/{name}/reindex/plan", repeatable=True)
    def plan_reindex(self, name: str, changes: Mapping[str, Any] | None = None) -> Call[ReindexPlan]:
        """What building its index anew would cost. Nothing is written."""
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
        """Build its index anew beside the one that search reads, and switch to it when it has passed its gate."""
        asked = {"changes": dict(changes or {}), "accept_losses": accept_losses, "force": force}
        return Call(at={"name": name}, json=asked)

    @request("collections_rerun", "POST /collections/{name}/rerun")
    def rerun(self, name: str, where: Mapping[str, Any], *, fresh: bool = False) -> Call[OperationAccepted]:
        """Send documents that meet a filter through the stages again."""
        return Call(at={"name": name}, json={"where": dict(where), "fresh": fresh}, timeout=LOOKING)

    @request("collections_plan_rerun", "POST /collections/{name}/rerun/plan", repeatable=True)
    def plan_rerun(self, name: str, where: Mapping[str, Any]) -> Call[RerunPlan]:
        """How many documents a rerun would send on their way. Nothing is written."""
        return Call(at={"name": name}, json={"where": dict(where)}, timeout=LOOKING)

    @request("collections_verify", "POST /collections/{name}/verify", repeatable=True)
    def verify(
        self, name: str, *, repair: bool = False, only_if_incomplete: bool = False, cursor: str | None = None
    ) -> Call[VerifyResult]:
        """Compare a part of ledger and index, from ``cursor`` on, and repair what differs with ``repair``.
        ``only_if_incomplete``: only if the index holds fewer points than it must, which costs two counts."""
        return Call(
            at={"name": name},
            json={"repair": repair, "only_if_incomplete": only_if_incomplete, "cursor": cursor},
            timeout=LOOKING,
        )

    @request("collections_export", "GET /collections/{name}/export")
    def export(self, name: str, file: Path) -> Call[Path]:
        """Write all of it into a file, gzipped if its name ends in ``gz``; what was cut leaves no file. Returns the
        file."""
        query = {"gzip": True} if file.name.endswith("gz") else {}
        return Call(at={"name": name}, query=query, into=file, timeout=TRANSFER)

    @request("collections_import", "POST /collections/import")
    def import_(self, file: Path, *, name: str | None = None) -> Call[ImportAccepted]:
        """Make one of an export, under another ``name`` than it had if that is given."""
        form = {} if name is None else {"name": name}
        return Call(files=[Upload(name=file.name, content=file)], form=form, timeout=TRANSFER)

    @request("collections_rollback", "POST /collections/{name}/rollback")
    def rollback(self, name: str, *, force: bool = False) -> Call[RollbackResult]:
        """Let search read the index before the last reindex again, at once; ``force``: although queries can't be
        embedded for it."""
        return Call(at={"name": name}, query={"force": True} if force else {})
