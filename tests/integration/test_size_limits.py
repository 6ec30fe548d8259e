"""What is larger than its source's limit is asked for again by each sync, at next to no cost, and had when the limit is
raised; the limit is no part of what shapes the output."""

from __future__ import annotations

from email.message import EmailMessage

import pytest

from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.testing.imap_server import ImapServer
from tests.integration.conftest import texts

LARGE = "the pear grows. " * 40


@pytest.fixture
def directory(tmp_path):
    return {"path": str(texts(tmp_path / "docs", apple="the apple grows", pear=LARGE))}


@pytest.fixture
def git(repository):
    repository.commit({"apple.txt": "the apple grows", "pear.txt": LARGE})
    return {"url": str(repository.path)}


@pytest.fixture
def s3(bucket):
    bucket.put(**{"apple.txt": "the apple grows", "pear.txt": LARGE})
    return {"bucket": bucket.name, "endpoint_url": bucket.server.url}


@pytest.fixture
def imap(monkeypatch):
    with ImapServer() as server:
        for text in ("the apple grows", LARGE):
            message = EmailMessage()
            message.set_content(text)
            server.put(message)
        config = server.config
        monkeypatch.setenv("MAIL_PASSWORD", config.pop("password"))
        yield {**config, "password_env": "MAIL_PASSWORD"}


@pytest.mark.parametrize("connector", ["directory", "git", "s3", "imap"])
def test_a_limit_that_is_raised_lets_in_what_it_kept_out(make_pipeline, request, connector):
    config = request.getfixturevalue(connector)
    pipeline = make_pipeline()

    def sync(max_bytes: int):
        return pipeline.index(SourceRequest(connector=connector, config={**config, "max_bytes": max_bytes}, name="x"))

    for new in (2, 0):
        result = sync(100)
        assert (result["outcome"], result["documents"]["new"]) == ("degraded", new)
        assert (result["documents"]["seen"], result["documents"]["quarantined"]) == (2, 1) if new else True
        assert result["documents"]["changed"] == 0, "what is still too large costs no revision"
        assert sorted(pipeline.stages().values()) == ["indexed", "quarantined"]
    result = sync(1000)
    assert (result["outcome"], result["documents"]["changed"]) == ("succeeded", 1)
    assert set(pipeline.stages().values()) == {"indexed"}
