"""The connector s3, on moto's server: pages and checkpoints, what is left out, what vanishes, what is refused."""

from __future__ import annotations

from urllib.parse import parse_qs

import httpx
import pytest

from semantik_pipeline.builtin.connectors import s3
from semantik_pipeline.builtin.connectors.s3 import S3Connector
from semantik_pipeline.builtin.connectors.s3_faults import meaning
from semantik_pipeline.documents import Checkpoint, Complete, DocumentReference
from semantik_pipeline.errors import (
    CredentialsRejected,
    DocumentGone,
    DocumentUnreadable,
    PluginConfigError,
    ServiceUnavailable,
    SkipDocument,
)
from semantik_pipeline.testing.connectors import enumerated, fetched, references


def connector(bucket, **options) -> S3Connector:
    return S3Connector({"bucket": bucket.name, "endpoint_url": bucket.server.url, **options})


def keys(bucket, events: list) -> list[str]:
    return [one.unique_id.removeprefix(f"s3://{bucket.name}/") for one in references(events)]


def test_what_an_object_becomes(bucket):
    bucket.put(**{"notes/a b.md": "# A"})
    plugin = connector(bucket)
    (reference,) = references(enumerated(plugin))
    assert reference.unique_id == f"s3://{bucket.name}/notes/a%20b.md" and reference.size == 3
    document = fetched(plugin, reference)
    assert document.content == b"# A" and document.media_type == "text/markdown"
    metadata = document.metadata
    assert metadata["key"] == "notes/a b.md" and metadata["bucket"] == bucket.name
    assert reference.change_hint == f"{metadata['etag']}-3"
    assert metadata["url"] == f"{bucket.server.url}/{bucket.name}/notes/a%20b.md"
    assert metadata["modified"].endswith("+00:00")
    bucket.put(**{"notes/a b.md": "# B"})
    assert references(enumerated(plugin))[0].change_hint != reference.change_hint
    assert fetched(plugin, reference).content == b"# B", "what changed since it was listed is fetched as it is"
    bucket.delete("notes/a b.md")
    with pytest.raises(DocumentGone):
        fetched(plugin, reference)


def test_a_crawl_goes_on_behind_each_page(bucket, monkeypatch):
    monkeypatch.setattr(s3, "PAGE", 3)
    names = ["a", "b/", "b/c", "b/ü", "b0", "c#d?", "e", "z"]
    bucket.put(**{name: "" if name.endswith("/") else f"content of {name!a}" for name in names})
    events = enumerated(connector(bucket))
    assert keys(bucket, events) == ["a", "b/c", "b/%C3%BC", "b0", "c%23d%3F", "e", "z"]
    assert sum(isinstance(event, Checkpoint) for event in events) == 3 and events[-1] == Complete(full=True)
    for place, event in enumerate(events):
        if isinstance(event, Checkpoint):
            assert references(enumerated(connector(bucket), event.cursor)) == references(events[place:])


def test_prefix_and_globs(bucket):
    bucket.put(**{"docs/a.md": "a", "docs/b.txt": "b", "docs/.x/c.md": "c", "docs2/d.md": "d", "e.md": "e"})
    assert keys(bucket, enumerated(connector(bucket, prefix="docs/", include=["/*.md"]))) == ["docs/a.md"]
    assert keys(bucket, enumerated(connector(bucket, prefix="doc", exclude=["*.txt"]))) == ["docs/a.md", "docs2/d.md"]
    assert "docs/.x/c.md" in keys(bucket, enumerated(connector(bucket, hidden=True)))
    with pytest.raises(DocumentGone):
        fetched(connector(bucket, prefix="docs/"), DocumentReference(f"s3://{bucket.name}/e.md"))


def test_empty_and_large_and_archived_objects(bucket):
    bucket.put(empty="", large="12345")
    bucket.client.put_object(Bucket=bucket.name, Key="old", Body=b"x", StorageClass="GLACIER")
    plugin = connector(bucket, max_bytes=4)
    by_key = dict(zip(keys(bucket, events := enumerated(plugin)), references(events), strict=True))
    with pytest.raises(SkipDocument, match="empty"):
        fetched(plugin, by_key["empty"])
    bucket.server.requests.clear()
    with pytest.raises(DocumentUnreadable, match="limit is 4"):  # whose limit may be raised: each sync asks again
        fetched(plugin, by_key["large"])
    assert bucket.fetched() == 0, "the listing has told its size"
    with pytest.raises(DocumentUnreadable, match="limit is 4"):
        fetched(plugin, DocumentReference(by_key["large"].unique_id))
    with pytest.raises(DocumentUnreadable, match="archive"):  # and may be restored
        fetched(plugin, by_key["old"])


def test_faults_name_the_bucket_and_the_way_out(bucket, monkeypatch):
    bucket.put(a="a")
    with pytest.raises(PluginConfigError, match="no bucket nothing-here"):
        enumerated(S3Connector({"bucket": "nothing-here", "endpoint_url": bucket.server.url}))
    with pytest.raises(PluginConfigError, match="access_key_env"):
        connector(bucket, access_key="only").validate_config()
    bucket.server.gate = lambda environ: ("503 Slow Down", [("Retry-After", "9")])
    with pytest.raises(ServiceUnavailable) as caught:
        enumerated(connector(bucket))
    assert caught.value.retry_after == 9
    bucket.server.gate = lambda environ: ("403 Forbidden", [])
    with pytest.raises(CredentialsRejected, match=bucket.name):
        enumerated(connector(bucket))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(CredentialsRejected, match="no credentials"):
        enumerated(connector(bucket))
    bucket.server.close()
    with pytest.raises(ServiceUnavailable, match="can't be reached"):
        enumerated(connector(bucket, anonymous=True))


def test_a_clock_that_is_wrong_is_no_refusal_of_credentials():
    from botocore.exceptions import ClientError

    answer = {"Error": {"Code": "RequestTimeTooSkewed"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
    found = meaning(ClientError(answer, "ListObjectsV2"), "letters")
    assert isinstance(found, ServiceUnavailable)
    assert "letters" in str(found) and "clock" in str(found)


def test_an_object_that_may_not_be_read_is_tried_again_by_the_next_sync(bucket):
    bucket.put(a="a")
    plugin = connector(bucket)
    (reference,) = references(enumerated(plugin))
    bucket.server.gate = lambda environ: ("403 Forbidden", [])
    with pytest.raises(DocumentUnreadable, match="may not be read"):
        fetched(plugin, reference)


def test_keys_that_the_server_refuses(bucket):
    """moto checks keys against its IAM when it is told to."""
    bucket.put(a="a")
    httpx.post(f"{bucket.server.url}/moto-api/reset-auth", content="0").raise_for_status()
    try:
        with pytest.raises(CredentialsRejected, match="InvalidAccessKeyId"):
            enumerated(connector(bucket, access_key="nobody", secret_key="wrong"))
    finally:
        httpx.post(f"{bucket.server.url}/moto-api/reset-auth", content="inf").raise_for_status()


def test_a_public_bucket_needs_no_credentials(bucket, monkeypatch):
    bucket.client.put_object(Bucket=bucket.name, Key="a", Body=b"a", ACL="public-read")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    plugin = connector(bucket, anonymous=True)
    assert fetched(plugin, references(enumerated(plugin))[0]).content == b"a"


def listing(*pages: str):
    """A WSGI application that lists a bucket by these pages: each is the inside of a ListBucketResult."""

    def answer(environ, start_response):
        asked = parse_qs(environ["QUERY_STRING"])
        token = asked.get("continuation-token", ["1" if "start-after" in asked else "0"])[0]
        start_response("200 OK", [("Content-Type", "application/xml")])
        return [f"<ListBucketResult>{pages[int(token)]}</ListBucketResult>".encode()]

    return answer


KEY = "<Contents><Key>{0}</Key><ETag>&quot;e&quot;</ETag><Size>1</Size></Contents>"
MORE = "<IsTruncated>true</IsTruncated><NextContinuationToken>{0}</NextContinuationToken>"


@pytest.fixture
def listed(bucket, serve):
    """A connector on a bucket that is listed by these pages."""

    def make(*pages: str) -> S3Connector:
        return S3Connector({"bucket": "pages", "endpoint_url": serve(listing(*pages)).url})

    return make


def test_an_empty_page_is_not_the_end_of_a_listing(listed):
    plugin = listed(KEY.format("a") + MORE.format(1), MORE.format(2), KEY.format("b"))
    events = enumerated(plugin)
    assert [one.unique_id for one in references(events)] == ["s3://pages/a", "s3://pages/b"]
    assert events[-1] == Complete(full=True)


@pytest.mark.parametrize("unfinished", ["<IsTruncated>true</IsTruncated>", MORE.format(1)], ids=["no token", "a loop"])
def test_a_listing_that_cannot_go_on_has_not_ended(listed, unfinished):
    with pytest.raises(ServiceUnavailable, match="does not list all of its objects"):
        enumerated(listed(KEY.format("a") + MORE.format(1), unfinished))
