"""Collections out of an installation and into it, over HTTP."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from httpx import Response
from starlette.requests import ClientDisconnect

from semantik_pipeline.api import downloads
from semantik_pipeline.errors import ServiceUnavailable
from semantik_pipeline.transfer import archive
from tests.integration.api.conftest import Api, problem
from tests.integration.conftest import FAKE_COLLECTION, texts


@pytest.fixture
def api(make_api: Callable[..., Api], tmp_path: Path) -> Api:
    api = make_api(collection=FAKE_COLLECTION, api={"max_upload_mb": 1})
    folder = texts(tmp_path / "notes", trains="Trains are booked early.", bread="Bread needs a starter.")
    api.pipeline.folder(folder, collection="notes")
    return api


def exported(api: Api, **asked: Any) -> bytes:
    found = api.get("/collections/notes/export", params=asked)
    assert found.status_code == 200, found.text
    assert int(found.headers["content-length"]) == len(found.content)
    return found.content


def imported(api: Api, content: bytes, *, by: str = "admin", **form: str) -> Response:
    return api.post("/collections/import", by=by, files={"files": ("notes.tar", content)}, data=form)


def changed(content: bytes, change: Callable[[dict[str, Any]], None], path: Path) -> bytes:
    """The export with another manifest, and an end that is right for it."""
    with archive.writing(path) as writer, tarfile.open(fileobj=io.BytesIO(content)) as tar:
        for about in tar:
            found = tar.extractfile(about)
            assert found is not None
            body = found.read()
            if about.name == "manifest.json":
                manifest = json.loads(body)
                change(manifest)
                body = json.dumps(manifest).encode()
            if about.name != "end.json":
                writer.add(about.name, body)
    return path.read_bytes()


def found(api: Api, collection: str) -> list[tuple[str, float]]:
    asked = {"query": "when are trains booked", "collection": collection, "use_reranker": False}
    hits = api.good(api.post("/search", json=asked))["hits"]
    return [(hit["text"], hit["score"]) for hit in hits]


@pytest.mark.parametrize("gzip", [False, True])
def test_a_collection_goes_out_and_comes_in_as_it_was(api: Api, gzip: bool) -> None:
    content = exported(api, gzip=gzip)
    assert content.startswith(b"\x1f\x8b") is gzip
    answer = imported(api, content, name="copy")
    told = api.good(answer, 202)
    assert answer.headers["location"].endswith(f"/operations/{told['id']}")
    assert (told["collection"], told["documents"], told["chunks"], told["vectors"]) == ("copy", 2, 2, 2)
    assert (told["sources"], told["recomputed"]) == (1, [])
    api.pipeline.run("upsert")  # nothing is parsed or embedded
    assert api.good(api.get(f"/operations/{told['operation']}"))["outcome"] == "succeeded"
    assert found(api, "copy") == found(api, "notes")
    problem(imported(api, content, name="copy"), 409)
    problem(imported(api, content), 409)


def test_who_may_take_a_collection_out_and_put_one_in(api: Api) -> None:
    api.good(api.post("/collections", json={"name": "other"}), 201)
    content = exported(api)
    mine = api.key("mine", role="admin", collections=["notes"])
    assert api.get("/collections/notes/export", by=mine).status_code == 200
    problem(api.get("/collections/other/export", by=mine), 403)
    problem(api.get("/collections/notes/export", by="writer"), 403)
    problem(api.get("/collections/notes/export", by=api.key("some", role="admin", principals=["anna"])), 403)
    problem(api.get("/collections/none/export"), 404)
    for by in (mine, "writer"):  # its sources may name any file
        problem(imported(api, content, by=by, name="new"), 403)


def test_what_is_no_export_is_refused_and_leaves_nothing(api: Api, tmp_path: Path) -> None:
    content = exported(api)
    broken: list[Callable[[dict[str, Any]], None]] = [
        lambda manifest: manifest.pop("collection"),
        lambda manifest: manifest.pop("sources"),
        lambda manifest: manifest["generation"].pop("config"),
        lambda manifest: manifest["generation"].pop("dimension"),
        lambda manifest: manifest["generation"].pop("fingerprints"),
        lambda manifest: manifest["generation"].update(config={}),
        lambda manifest: manifest["sources"][0].pop("weight"),
        lambda manifest: manifest.update(version=99),
    ]
    damaged = [changed(content, change, tmp_path / f"{at}.tar") for at, change in enumerate(broken)]
    for upload in (b"", b"no tar", content[: len(content) // 2], *damaged):
        said = problem(imported(api, upload, name="new"), 422)
        assert "/tmp" not in said["detail"] and str(tmp_path) not in said["detail"], said
    problem(imported(api, content + b"\0" * 2_000_000, name="new"), 413)
    assert [row["name"] for row in api.good(api.get("/collections"))["collections"]] == ["notes"]


def test_an_exports_sources_keep_to_the_rules_for_sources(api: Api, tmp_path: Path) -> None:
    content, data = exported(api), str(api.runtime.settings.data_dir)

    def inside(manifest: dict[str, Any]) -> None:
        manifest["sources"][0]["config"]["path"] = data

    def ours(manifest: dict[str, Any]) -> None:
        manifest["config"]["embedding"]["options"]["api_key_env"] = "SEMANTIK_DATABASE_URL"

    problem(imported(api, changed(content, inside, tmp_path / "a.tar"), name="new"), 403)
    problem(imported(api, changed(content, ours, tmp_path / "b.tar"), name="new"), 403)


def test_so_many_exports_lie_here_while_they_are_sent(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "MOST", 2)
    for _ in range(3):
        exported(api)  # each is gone when it has arrived
    path = tmp_path / "export.tar"
    path.write_bytes(b"some")
    sending: Any = api.client.app.state.downloads  # type: ignore[attr-defined]
    slow = [sending.send(path.open("rb"), caller="anna", headers={}, media_type="application/x-tar") for _ in range(2)]
    refused = api.get("/collections/notes/export")
    assert "2 exports" in problem(refused, 503)["detail"] and refused.headers["retry-after"]
    slow.pop()  # nobody asks for it any more
    exported(api)


def test_who_takes_nothing_of_an_export_gets_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "PAUSE", 0.05)
    monkeypatch.setattr(downloads, "MOST", 1)
    path = tmp_path / "export.tar"
    path.write_bytes(b"some")

    async def stuck(*_: Any) -> Any:
        await asyncio.Event().wait()

    async def case() -> None:
        sending = downloads.Downloads()
        response = sending.send(path.open("rb"), caller="anna", headers={}, media_type="application/x-tar")
        with pytest.raises(ServiceUnavailable):
            sending.check_room("ben")
        with pytest.raises((TimeoutError, ClientDisconnect)):
            await response({"type": "http", "asgi": {"spec_version": "2.3"}}, stuck, stuck)
        sending.check_room("ben")

    asyncio.run(case())


def test_who_takes_many_files_leaves_some_for_others(tmp_path: Path) -> None:
    path = tmp_path / "export.tar"
    path.write_bytes(b"some")
    sending = downloads.Downloads(most=4)
    taken = [sending.send(path.open("rb"), caller="anna", headers={}, media_type="text/plain") for _ in range(2)]
    with pytest.raises(ServiceUnavailable, match="2 exports of anna are being sent"):
        sending.check_room("anna")
    sending.check_room("ben")
    taken[0].file.close()  # type: ignore[attr-defined]
    sending.check_room("anna")


class Alike(io.BytesIO):
    """Equal to each other file of the same content, as the files of buckets are."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Alike) and self.getvalue() == other.getvalue()

    def __hash__(self) -> int:
        return hash(Alike)


def test_files_that_are_equal_count_one_by_one() -> None:
    sending = downloads.Downloads(most=4)
    taken = [sending.send(Alike(b"some"), caller=one, headers={}, media_type="text/plain") for one in ("anna", "ben")]
    sending.check_room("anna")
    taken.append(sending.send(Alike(b"some"), caller="anna", headers={}, media_type="text/plain"))
    with pytest.raises(ServiceUnavailable, match="2 exports of anna are being sent"):
        sending.check_room("anna")
