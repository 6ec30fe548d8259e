"""Exports of collections to files, and imports from them."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from fastapi import File, Form, Query, Request, Response, UploadFile
from pydantic import BaseModel, ValidationError

from semantik_pipeline import transfer
from semantik_pipeline.api import trusted
from semantik_pipeline.api.accepted import ACCEPTED, accepted
from semantik_pipeline.api.dependencies import CollectionAdmin, Operator, TheRuntime
from semantik_pipeline.api.models.collections import ImportAccepted
from semantik_pipeline.api.models.plain import Name, NameInPath, Options
from semantik_pipeline.api.problems import documented
from semantik_pipeline.api.routing import guarded
from semantik_pipeline.contracts.auth import Principal
from semantik_pipeline.errors import StorageFull, UnreadableExport
from semantik_pipeline.runtime import Runtime

router = guarded("collections", "/collections")

TAR, GZIPPED = "application/x-tar", "application/gzip"

#: Bytes of an upload that are copied at a time.
PIECE = 2**20

_BINARY = {"schema": {"type": "string", "format": "binary"}}


class _Built(BaseModel):
    config: Options


class _Source(BaseModel):
    connector: str
    name: str
    config: Options


class _Manifest(BaseModel):
    """The part of an export's manifest that is checked before anything is imported."""

    collection: Name
    config: Options
    generation: _Built
    sources: list[_Source]


@router.get(
    "/{name}/export",
    operation_id="collections_export",
    summary="Export a collection as a file: documents, contents, chunks, vectors and sources, without secrets.",
    response_class=Response,
    responses={
        200: {
            "content": {TAR: _BINARY, GZIPPED: _BINARY},
            "description": "The file. The response starts once the file is complete.",
        },
        **documented(404, 409, 507),
    },
)
def export(
    request: Request,
    runtime: TheRuntime,
    caller: CollectionAdmin,
    name: NameInPath,
    gzip: Annotated[bool, Query(description="Compress the file.")] = False,
) -> Response:
    request.app.state.downloads.check_room(caller.name)
    ending, kind = (".tar.gz", GZIPPED) if gzip else (".tar", TAR)
    with _folder() as folder:
        path = folder / f"export{ending}"
        transfer.export(runtime, name, path)
        size, file = path.stat().st_size, path.open("rb")  # unlinked with its folder, so that closing it deletes it
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name + ending, safe='')}",
        "Content-Length": str(size),
    }
    return request.app.state.downloads.send(file, caller=caller.name, headers=headers, media_type=kind)


@router.post(
    "/import",
    operation_id="collections_import",
    summary="Create a collection from an export. Its stored embeddings are reused, and its sources are paused.",
    responses=documented(404, 409),
    **ACCEPTED,
)
def import_(
    request: Request,
    runtime: TheRuntime,
    caller: Operator,
    response: Response,
    files: Annotated[UploadFile, File(description="The file of an export.")],
    name: Annotated[Name | None, Form(description="New name of the collection.")] = None,
) -> ImportAccepted:
    with _folder() as folder:
        path = folder / "upload"
        with path.open("wb") as file:
            shutil.copyfileobj(files.file, file, PIECE)
        try:
            _check(runtime, caller, path, anywhere=trusted.is_owner(request, caller))
            told = transfer.import_collection(runtime, path, name=name)
        except UnreadableExport as error:
            raise UnreadableExport(error.message.replace(str(path), "The upload"), error.hint) from None
        except (KeyError, TypeError) as error:  # the manifest lacks fields that every export has
            raise UnreadableExport(f"The upload is damaged: {error!r}.") from error
    begun = accepted(runtime, response, told.pop("operation"))
    return ImportAccepted(**begun.model_dump(), **told)


def _check(runtime: Runtime, caller: Principal, path: Path, *, anywhere: bool) -> None:
    """Check the configurations in an export, because they arrive over HTTP, too."""
    try:
        told = _Manifest.model_validate(transfer.manifest_of(path, transfer.read(path)))
    except ValidationError:
        raise UnreadableExport("The upload is damaged: its manifest is not that of an export.") from None
    for config in (told.config, told.generation.config):
        trusted.check_collection(runtime.settings, caller, config)
    for source in told.sources:
        trusted.check(runtime.settings, source.config, source.connector, anywhere=anywhere)


@contextmanager
def _folder() -> Iterator[Path]:
    """A temporary folder for this request. Raises StorageFull if the disk is full."""
    try:
        with tempfile.TemporaryDirectory(prefix="semantik-") as folder:
            yield Path(folder)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise StorageFull(
            "The disk with the folder for temporary files is full.", "Free some space, or set TMPDIR to another folder."
        ) from error
