"""API keys: list, create, revoke."""

from __future__ import annotations

from semantik_pipeline import access
from semantik_pipeline.api import pages
from semantik_pipeline.api.dependencies import Operator, TheRuntime
from semantik_pipeline.api.models.keys import ApiKey, ApiKeyCreate, ApiKeyCreated, ApiKeyList
from semantik_pipeline.api.models.plain import NameInPath
from semantik_pipeline.api.problems import documented
from semantik_pipeline.api.routing import guarded
from semantik_pipeline.schedules import parse_duration

router = guarded("keys", "/keys")


@router.get(
    "", operation_id="keys_list", summary="List API keys, including revoked and expired ones, without their secrets."
)
def list_keys(
    runtime: TheRuntime, caller: Operator, limit: pages.Limit = 100, cursor: pages.Cursor = None
) -> ApiKeyList:
    after = pages.decode(cursor, str)
    found = access.list_keys(runtime, limit=limit + 1, after=after[0] if after else None)
    page, following = pages.cut(found, limit, lambda row: (row["name"],))
    return ApiKeyList(keys=[ApiKey.model_validate(row) for row in page], next_cursor=following)


@router.post(
    "",
    operation_id="keys_create",
    summary="Create an API key. The key is shown only in this response.",
    status_code=201,
    responses=documented(409),
)
def create(runtime: TheRuntime, caller: Operator, new: ApiKeyCreate) -> ApiKeyCreated:
    made = access.create_key(
        runtime,
        new.name,
        role=new.role,
        collections=new.collections,
        principals=new.principals,
        seconds=None if new.expires_in is None else parse_duration(new.expires_in),
    )
    return ApiKeyCreated.model_validate({**made.row, "key": made.key})


@router.delete("/{name}", operation_id="keys_revoke", summary="Revoke an API key.", responses=documented(404))
def revoke(runtime: TheRuntime, caller: Operator, name: NameInPath) -> ApiKey:
    return ApiKey.model_validate(access.revoke_key(runtime, name))
