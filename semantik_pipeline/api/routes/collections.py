"""Collections: list, show, create, configure, rename, delete, restore; rebuild and verify their indexes."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import Query, Response

from semantik_pipeline import collections, generations, trash, verification
from semantik_pipeline.api import etags, pages, trusted
from semantik_pipeline.api.accepted import ACCEPTED, accepted
from semantik_pipeline.api.dependencies import (
    CollectionAdmin,
    CollectionReader,
    CollectionWriter,
    Reader,
    TheRuntime,
    Writer,
)
from semantik_pipeline.api.models.collections import (
    Collection,
    CollectionCreate,
    CollectionDetail,
    CollectionList,
    CollectionRenameRequest,
    CollectionUpdate,
    DeletedCollection,
    ReindexPlan,
    ReindexPlanRequest,
    ReindexRequest,
    RenamedCollection,
    RerunPlan,
    RerunPlanRequest,
    RerunRequest,
    RestoredCollection,
    RollbackResult,
    VerifyRequest,
    VerifyResult,
)
from semantik_pipeline.api.models.operations import OperationAccepted
from semantik_pipeline.api.models.plain import NameInPath
from semantik_pipeline.api.problems import documented
from semantik_pipeline.api.routing import guarded

router = guarded("collections", "/collections")

NOT_THERE = documented(404)
BUSY = documented(404, 409)

#: The defaults of requests without a body.
PLAN, REINDEX, VERIFY = ReindexPlanRequest(), ReindexRequest(), VerifyRequest()

#: Approximate seconds that one request compares. Its answer says where the next request continues.
COMPARED = 10.0


@router.get("", operation_id="collections_list", summary="List collections.")
def list_collections(
    runtime: TheRuntime, caller: Reader, limit: pages.Limit = 100, cursor: pages.Cursor = None
) -> CollectionList:
    after = pages.decode(cursor, str)
    found = collections.list_all(runtime, among=caller.collections, after=after[0] if after else None, limit=limit + 1)
    page, following = pages.cut(found, limit, lambda row: (row["name"],))
    return CollectionList(collections=[Collection.model_validate(row) for row in page], next_cursor=following)


@router.post(
    "",
    operation_id="collections_create",
    summary="Create a collection. Its configuration is checked against the plugins' schemas.",
    status_code=201,
    responses=documented(404, 409),
)
def create(runtime: TheRuntime, caller: Writer, new: CollectionCreate, response: Response) -> CollectionDetail:
    caller.require("writer", new.name)
    for given in (new.config, new.changes):
        trusted.check_collection(runtime.settings, caller, given)
    made = collections.create(runtime, new.name, config=new.config, changes=new.changes)
    response.headers["Location"] = f"/api/v2/collections/{quote(new.name, safe='')}"
    response.headers["ETag"] = etags.quoted(made["etag"])
    return CollectionDetail.model_validate(made)


@router.get("/{name}", operation_id="collections_show", summary="Show a collection.", responses=NOT_THERE)
def show(runtime: TheRuntime, caller: CollectionReader, name: NameInPath, response: Response) -> CollectionDetail:
    found = collections.show(runtime, name)
    response.headers["ETag"] = etags.quoted(found["etag"])
    return CollectionDetail.model_validate(found)


@router.patch(
    "/{name}",
    operation_id="collections_configure",
    summary="Change the configuration of a collection. `search` and `default_reranker` apply at once; the other"
    " settings apply from the next reindex.",
    responses=documented(404, 412),
)
def configure(
    runtime: TheRuntime,
    caller: CollectionWriter,
    name: NameInPath,
    change: CollectionUpdate,
    response: Response,
    if_match: etags.IfMatch = None,
) -> CollectionDetail:
    trusted.check_collection(runtime.settings, caller, change.changes)
    tag = etags.require(if_match, collections.configuration(runtime, name))
    found = collections.configure(runtime, name, change.changes, if_match=tag)
    response.headers["ETag"] = etags.quoted(found["etag"])
    return CollectionDetail.model_validate(found)


@router.post(
    "/{name}/rename",
    operation_id="collections_rename",
    summary="Rename a collection. Searches with the old name fail from then on.",
    responses=BUSY,
)
def rename(
    runtime: TheRuntime, caller: CollectionWriter, name: NameInPath, new: CollectionRenameRequest
) -> RenamedCollection:
    caller.require("writer", new.name)
    return RenamedCollection.model_validate(collections.rename(runtime, name, new.name))


@router.delete(
    "/{name}",
    operation_id="collections_delete",
    summary="Delete a collection and stop its syncs. It is moved to the trash unless `purge` is set.",
    responses=BUSY,
)
def delete(
    runtime: TheRuntime,
    caller: CollectionAdmin,
    name: NameInPath,
    purge: Annotated[bool, Query(description="Delete permanently.")] = False,
) -> DeletedCollection:
    return DeletedCollection.model_validate(trash.delete_collection(runtime, name, purge=purge))


@router.post(
    "/{name}/restore",
    operation_id="collections_restore",
    summary="Restore a collection from the trash.",
    responses=documented(404, 409),
)
def restore(runtime: TheRuntime, caller: CollectionAdmin, name: NameInPath) -> RestoredCollection:
    return RestoredCollection(name=name, operation_id=trash.restore_collection(runtime, name))


@router.post(
    "/{name}/reindex/plan",
    operation_id="collections_plan_reindex",
    summary="Estimate the cost of a reindex. Nothing is written.",
    responses=NOT_THERE,
)
def plan(
    runtime: TheRuntime, caller: CollectionWriter, name: NameInPath, asked: ReindexPlanRequest = PLAN
) -> ReindexPlan:
    trusted.check_collection(runtime.settings, caller, asked.changes)
    return ReindexPlan.model_validate(generations.plan(runtime, name, asked.changes).to_dict())


@router.post(
    "/{name}/reindex",
    operation_id="collections_reindex",
    summary="Build a new index next to the current one, and switch to it once it has passed its checks.",
    responses=BUSY,
    **ACCEPTED,
)
def reindex(
    runtime: TheRuntime, caller: CollectionWriter, name: NameInPath, response: Response, asked: ReindexRequest = REINDEX
) -> OperationAccepted:
    trusted.check_collection(runtime.settings, caller, asked.changes)
    operation = generations.reindex(runtime, name, asked.changes, accept_losses=asked.accept_losses, force=asked.force)
    return accepted(runtime, response, operation)


@router.post(
    "/{name}/rerun",
    operation_id="collections_rerun",
    summary="Process documents that match a filter again, in the current index.",
    responses=NOT_THERE,
    **ACCEPTED,
)
def rerun(
    runtime: TheRuntime, caller: CollectionWriter, name: NameInPath, asked: RerunRequest, response: Response
) -> OperationAccepted:
    return accepted(runtime, response, generations.rerun(runtime, name, asked.where, fresh=asked.fresh))


@router.post(
    "/{name}/rerun/plan",
    operation_id="collections_plan_rerun",
    summary="Count the documents that match a filter and would be processed again. Nothing is written.",
    responses=NOT_THERE,
)
def plan_rerun(runtime: TheRuntime, caller: CollectionWriter, name: NameInPath, asked: RerunPlanRequest) -> RerunPlan:
    found = generations.matching(runtime, name, asked.where)
    return RerunPlan(collection=name, documents=found.documents, examples=list(found.examples))


@router.post(
    "/{name}/verify",
    operation_id="collections_verify",
    summary="Compare the index with the database, page by page, and optionally repair the differences.",
    responses=BUSY,
)
def verify(
    runtime: TheRuntime, caller: CollectionWriter, name: NameInPath, asked: VerifyRequest = VERIFY
) -> VerifyResult:
    begin = pages.decode(asked.cursor, int, int)
    if asked.only_if_incomplete and begin is None and not verification.lacks_points(runtime, name, wrote=True):
        report, following = verification.VerificationReport(generations=[]), None
    else:
        at = (begin[0], begin[1]) if begin else None
        report, following = verification.verify_part(runtime, name, begin=at, seconds=COMPARED)
    mending = [f"repair-{operation}" for operation in verification.repair(runtime, report)] if asked.repair else []
    return VerifyResult(
        **report.to_dict(),
        collection=name,
        clean=report.clean,
        examples=report.examples,
        operation=mending[0] if mending else None,
        operations=mending,
        next_cursor=pages.encode(*following) if following is not None else None,
    )


@router.post(
    "/{name}/rollback",
    operation_id="collections_rollback",
    summary="Switch back to the previous index.",
    responses=BUSY,
)
def rollback(
    runtime: TheRuntime,
    caller: CollectionWriter,
    name: NameInPath,
    force: Annotated[
        bool, Query(description="Switch even if its embedding model is unavailable on this server.")
    ] = False,
) -> RollbackResult:
    return RollbackResult.model_validate(generations.rollback(runtime, name, force=force))
