"""Documents whose bodies are in a bucket: from a folder to hits and to the bodies over HTTP.

Also after an edit, a removal and a sweep.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from semantik_pipeline import maintenance, pipeline
from semantik_pipeline.api.routes import documents as routes
from semantik_pipeline.documents import content_hash
from semantik_pipeline.ledger.tables import chores
from semantik_pipeline.settings import Settings
from semantik_pipeline.verification import verify
from tests.integration.api.conftest import Api
from tests.integration.conftest import FAKE_COLLECTION, texts

DAY = 86400.0

#: Extractors of chunks, and one of whole documents, which reads the parsed body.
COLLECTION = {
    **FAKE_COLLECTION,
    "extraction": {kind: [{"plugin": "fake-extractor", "options": {}}] for kind in ("chunk", "document")},
}


@pytest.fixture
def api(bucket: Any, make_api: Callable[..., Api], monkeypatch: pytest.MonkeyPatch) -> Api:
    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.server.url)
    monkeypatch.setenv("SEMANTIK_BLOB_URL", f"s3://{bucket.name}/semantik")
    return make_api(retention={"blobs_days": 1})


def stored(bucket: Any, kind: str) -> set[str]:
    listing = bucket.client.list_objects_v2(Bucket=bucket.name, Prefix=f"semantik/{kind}/")
    return {found["Key"].rpartition("/")[2] for found in listing.get("Contents", ())}


def hits(api: Api, query: str) -> list[str]:
    asked = {"query": query, "search_mode": "sparse", "use_reranker": False}
    answer = api.good(api.post("/search", json=asked, by="reader"))
    return [hit["document"].rpartition("/")[2] for hit in answer["hits"]]


def read(api: Api, name: str) -> tuple[bytes, str]:
    """The original content and the parsed text of a document."""
    [row] = [one for one in api.good(api.get("/documents"))["documents"] if one["document"].endswith(name)]
    body = api.get(f"/documents/{row['id']}/content", by="reader")
    assert body.status_code == 200, body.text
    return body.content, api.good(api.get(f"/documents/{row['id']}/text", by="reader"))["text"]


def swept(api: Api, bucket: Any, days: float) -> None:
    """Let every body be so many days older, and maintenance sweep."""
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends

    for body in s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets[bucket.name].keys.values():
        body.last_modified = datetime.fromtimestamp(time.time() - days * DAY, UTC)
    with api.runtime.ledger.write() as tx:
        tx.execute(update(chores).values(done_at=0))
    while maintenance.tick(api.runtime):
        pass


def test_documents_go_all_the_way_with_their_bodies_in_a_bucket(
    api: Api, bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    papers = texts(tmp_path / "papers", a="Alpha ZEBRAS graze.", b="Beta bears doze.", c="Beta bears doze.", d="Gone.")
    first = {content_hash(path.read_bytes()) for path in papers.iterdir()}
    done = api.pipeline.folder(papers, config=COLLECTION)
    assert (done["outcome"], done["documents"]["new"], set(api.pipeline.stages().values())) == (
        "succeeded",
        4,
        {"indexed"},
    )
    assert stored(bucket, "raw") == first and len(stored(bucket, "parsed")) == 3  # two are alike
    assert not (tmp_path / "data" / "blobs").exists()
    assert hits(api, "zebras") == ["a.txt"]
    assert read(api, "a.txt") == (b"Alpha ZEBRAS graze.", "Alpha ZEBRAS graze.")
    assert verify(api.runtime).clean

    texts(papers, a="Alpha gnus roam.", b="Beta voles dig.")
    (papers / "d.txt").unlink()
    changes = api.pipeline.folder(papers, config=COLLECTION)["documents"]
    assert (changes["changed"], changes["deleted"], changes["unchanged"]) == (2, 1, 1)
    assert (hits(api, "zebras"), hits(api, "gnus"), hits(api, "bears")) == ([], ["a.txt"], ["c.txt"])
    now = {content_hash(path.read_bytes()) for path in papers.iterdir()}
    assert stored(bucket, "raw") == first | now, "young bodies stay, for another sync may be about to refer to them"

    swept(api, bucket, days=2)
    assert stored(bucket, "raw") == now and len(stored(bucket, "parsed")) == 3
    monkeypatch.setattr(routes, "AT_ONCE", 5)  # larger ones are read piece by piece
    assert read(api, "a.txt") == (b"Alpha gnus roam.", "Alpha gnus roam.")
    assert read(api, "c.txt") == (b"Beta bears doze.", "Beta bears doze.")
    assert verify(api.runtime).clean
    again = api.pipeline.folder(papers, config=COLLECTION)
    assert (again["outcome"], again["documents"]["unchanged"]) == ("succeeded", 3)


def test_documents_wait_while_the_bucket_refuses_us(
    api: Api, bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source waits until it has named its documents, then each document waits, with the reason.

    No attempt is charged to a document.
    """

    def refused(stage: str) -> None:
        bucket.server.gate = lambda environ: ("403 Forbidden", [])
        pipeline.work_on(api.runtime, stage)
        bucket.server.gate = lambda environ: None

    papers = texts(tmp_path / "papers", a="Alpha zebras graze.")
    begun = api.pipeline.folder(papers, config=COLLECTION, run=False)["id"]
    with monkeypatch.context() as fleet:
        fleet.setattr(Settings, "fleet", True)
        for _ in range(api.runtime.settings.work.max_attempts + 1):
            api.pipeline.hurry()
            refused("sync")
    [source] = api.good(api.get("/sources"))["sources"]
    assert (source["state"], source["attempts"], source["documents"]) == ("waiting", 0, 0)
    assert f"{bucket.name}/semantik denied access" in source["last_error"]["message"]
    api.pipeline.run("sync")
    refused("chunk")
    unit = api.pipeline.unit("a.txt")
    assert (unit["stage"], unit["attempts"], unit["suspect"]) == ("chunk", 0, False)
    assert f"{bucket.name}/semantik denied access" in unit["blocked"]
    api.pipeline.run()
    assert api.pipeline.result(begun)["outcome"] == "succeeded"
    assert verify(api.runtime).clean


def test_a_command_is_told_after_the_last_attempt(api: Api, bucket: Any, tmp_path: Path) -> None:
    begun = api.pipeline.folder(texts(tmp_path / "papers", a="Alpha zebras graze."), config=COLLECTION, run=False)["id"]
    bucket.server.gate = lambda environ: ("403 Forbidden", [])
    for _ in range(api.runtime.settings.work.max_attempts):
        api.pipeline.hurry()
        pipeline.work_on(api.runtime, "sync")
    bucket.server.gate = lambda environ: None
    assert api.pipeline.result(begun)["outcome"] == "failed"
