"""Pushing documents: texts in bulk, and files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import File, Form, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError

from semantik_pipeline import push
from semantik_pipeline.api import idempotency
from semantik_pipeline.api.accepted import ACCEPTED, accepted
from semantik_pipeline.api.dependencies import DocumentWriter, TheRuntime
from semantik_pipeline.api.models.documents import FileAttributes, PushAccepted, PushedDocument, PushRequest
from semantik_pipeline.api.models.plain import Name
from semantik_pipeline.api.problems import documented
from semantik_pipeline.api.routing import guarded
from semantik_pipeline.errors import UsageError
from semantik_pipeline.push import MOST, SOURCE, Given, Pushed
from semantik_pipeline.runtime import Runtime

router = guarded("documents", "/documents")

_ATTRIBUTES = TypeAdapter(dict[str, FileAttributes])

#: Bytes of a file that are hashed at a time.
PIECE = 2**20


@router.post(
    "",
    operation_id="documents_push",
    summary=f"Push at most {MOST:,} texts. Either all of them are accepted, or none. Unchanged documents are not"
    " processed again.",
    responses=documented(404, 409),
    **ACCEPTED,
)
def push_texts(
    request: Request,
    runtime: TheRuntime,
    caller: DocumentWriter,
    new: PushRequest,
    response: Response,
    key: idempotency.Key = None,
) -> PushAccepted:
    caller.require("writer", new.collection)
    given = (
        Given(
            unique_id=one.document,
            content=one.text,
            media_type=one.media_type or "text/plain",
            title=one.title,
            metadata=one.metadata,
            principals=one.principals,
        )
        for one in new.documents
    )

    def act() -> PushAccepted:
        pushed = push.push(runtime, given, collection=new.collection, source=new.source, principals=caller.principals)
        return _answer(runtime, response, pushed)

    asked = new.model_dump(mode="json") if key is not None else None
    return idempotency.once(request, caller, key, asked, PushAccepted, response, act)


@router.post(
    "/files",
    operation_id="documents_upload",
    summary=f"Upload at most {MOST:,} files. Either all of them are accepted, or none. Unchanged documents are not"
    " processed again.",
    responses=documented(404, 409),
    **ACCEPTED,
)
def upload(
    request: Request,
    runtime: TheRuntime,
    caller: DocumentWriter,
    response: Response,
    files: Annotated[list[UploadFile], File(description="Each file is a document; its name is the document id.")],
    collection: Annotated[Name, Form()] = "default",
    source: Annotated[Name, Form(description="Name of the push source; it is created if it does not exist.")] = SOURCE,
    attributes: Annotated[
        str | None,
        Form(
            description="JSON object with attributes by file name: `title`, `metadata`, `media_type`, `principals`, and"
            " `document` to set another document id.",
            examples=['{"travel.pdf": {"document": "handbook/travel", "metadata": {"team": "hr"}}}'],
        ),
    ] = None,
    key: idempotency.Key = None,
) -> PushAccepted:
    caller.require("writer", collection)
    told = _attributes(attributes, files)

    def act() -> PushAccepted:
        pushed = push.push(
            runtime, _given(files, told), collection=collection, source=source, principals=caller.principals
        )
        return _answer(runtime, response, pushed)

    asked = [collection, source, attributes, [_fingerprint(file) for file in files]] if key is not None else None
    return idempotency.once(request, caller, key, asked, PushAccepted, response, act)


def _given(files: list[UploadFile], attributes: dict[str, FileAttributes]) -> Iterator[Given]:
    """Yield the files one after the other, so that only one content is in memory at a time."""
    for file in files:
        name = file.filename or ""
        own = attributes.get(name, FileAttributes())
        file.file.seek(0)
        yield Given(
            unique_id=own.document or name,
            content=file.file.read(),
            file_name=name,
            media_type=own.media_type or file.content_type,
            title=own.title,
            metadata=own.metadata,
            principals=own.principals,
        )


def _attributes(text: str | None, files: list[UploadFile]) -> dict[str, FileAttributes]:
    """Attributes by file name. Raises UsageError for a file that was not uploaded."""
    try:
        found = _ATTRIBUTES.validate_json(text) if text else {}
    except ValidationError as error:
        faults = [{**one, "loc": ("body", "attributes", *one["loc"])} for one in error.errors()]
        raise RequestValidationError(faults) from None
    names = {file.filename for file in files}
    for name in found:
        if name not in names:
            raise UsageError(f"`attributes` names {name!r}, which is not one of the files.", "Check the name.")
    return found


def _fingerprint(file: UploadFile) -> list[Any]:
    file.file.seek(0)
    digest = hashlib.sha256()
    while piece := file.file.read(PIECE):
        digest.update(piece)
    return [file.filename, file.content_type, digest.hexdigest()]


def _answer(runtime: Runtime, response: Response, pushed: Pushed) -> PushAccepted:
    begun = accepted(runtime, response, pushed.operation_id)
    documents = [
        PushedDocument(id=one.document_id, document=one.unique_id, outcome=one.outcome) for one in pushed.documents
    ]
    return PushAccepted(**begun.model_dump(), source_id=pushed.source_id, documents=documents)
