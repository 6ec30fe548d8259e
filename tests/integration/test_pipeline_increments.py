"""Runs of a source: what a cursor means from run to run, and that the index follows with only what changed fetched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from semantik_pipeline import pipeline
from semantik_pipeline.builtin.connectors.git import GitConnector
from semantik_pipeline.documents import Complete
from semantik_pipeline.ledger.tables import work
from semantik_pipeline.operations import SourceRequest, begin_drop, list_documents
from semantik_pipeline.search import SearchQuery, search
from semantik_pipeline.verification import verify


class Source:
    """A source of the fake connector, in a file; ``fetched`` says what was fetched since it was last asked."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.file, self.log = folder / "source.json", folder / "fetched.log"
        config = {"documents_file": str(self.file), "log_path": str(self.log), "incremental": True, **options}
        self.request = SourceRequest(connector="fake-connector", name="fake", config=config)

    def holds(self, **documents: str) -> None:
        self.file.write_text(json.dumps(documents))

    def fetched(self) -> list[str]:
        lines = self.log.read_text().split() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return sorted(lines)

    def with_options(self, **options: Any) -> SourceRequest:
        return SourceRequest(connector="fake-connector", name="fake", config={**self.request.config, **options})


@pytest.fixture
def source(tmp_path: Path) -> Source:
    made = Source(tmp_path)
    made.holds(a="alpha", b="beta", c="gamma", d="delta")
    return made


def test_a_run_begins_where_the_last_one_ended(make_pipeline, source):
    pipe = make_pipeline()
    assert pipe.index(source.request)["documents"]["new"] == 4
    assert source.fetched() == ["a", "b", "c", "d"]
    source.holds(a="alpha", b="other", d="delta", e="epsilon")
    documents = pipe.index(source.request)["documents"]
    assert (documents["new"], documents["changed"], documents["deleted"], documents["unchanged"]) == (1, 1, 1, 0)
    assert source.fetched() == ["b", "e"]
    assert pipe.stages() == dict.fromkeys("abde", "indexed")
    assert pipe.index(source.request)["documents"]["seen"] == 0


def test_a_full_run_can_be_asked_for(make_pipeline, source):
    pipe = make_pipeline()
    pipe.index(source.request)
    assert pipe.index(source.request, full=True)["documents"]["unchanged"] == 4


def test_other_options_begin_with_a_full_run(make_pipeline, source):
    pipe = make_pipeline()
    pipe.index(source.request)
    assert pipe.index(source.with_options(media_type="text/markdown"))["documents"]["unchanged"] == 4


def test_a_checkpoint_of_a_run_that_was_taken_over_is_forgotten(make_pipeline, source):
    """Else what the first run named before it would look absent to the second."""
    pipe = make_pipeline(work={"max_in_flight": 1})
    request = source.with_options(checkpoint_every=2, incremental=False)
    pipe.index(request, run=False)
    pipeline.work_on(pipe.runtime, "sync")
    assert len(pipe.stages()) == 2, "the slice was to end at its first checkpoint"
    assert pipe.index(request)["outcome"] == "succeeded"
    assert pipe.stages() == dict.fromkeys("abcd", "indexed")


def test_options_that_change_within_a_run_begin_a_new_one(make_pipeline, source):
    pipe = make_pipeline(work={"max_in_flight": 1})
    first = pipe.index(source.with_options(checkpoint_every=2), run=False)
    pipeline.work_on(pipe.runtime, "sync")
    assert sorted(pipe.stages()) == ["a", "b"]
    source.holds(b="beta", c="gamma", d="delta")
    other = source.with_options(checkpoint_every=1)
    with pipe.runtime.ledger.write() as tx:
        from semantik_pipeline.ledger.catalog import collections

        collections.put_source(tx, 1, other.connector, other.name, other.config)
    pipe.run()
    assert pipe.result(first["id"])["outcome"] == "succeeded"
    assert pipe.stages() == dict.fromkeys("bcd", "indexed"), "what only the first options' half saw is absent"


def test_a_run_that_fails_leaves_the_next_one_to_begin_where_it_began(make_pipeline, source):
    pipe = make_pipeline(work={"max_attempts": 2}, sync={"batch_size": 1})
    pipe.index(source.request)
    source.fetched()
    source.holds(a="new alpha", b="new beta", c="gamma", d="delta")
    assert pipe.index(source.with_options(fail_after=2))["outcome"] == "failed"
    assert source.fetched() == ["a", "b"]
    assert pipe.index(source.request)["documents"]["unchanged"] == 2, "named again, from where the failed run began"
    assert source.fetched() == []


def test_what_could_not_be_fetched_is_asked_for_again_though_nothing_changed(make_pipeline, source):
    pipe = make_pipeline(plugins={"fake-connector": {"fail_fetch": {"b": "transient", "c": "permanent"}}})
    assert pipe.index(source.request)["outcome"] == "degraded"
    source.fetched()
    pipe.index(source.request)
    assert set(source.fetched()) == {"b"}, "c fails the same way every time"


@pytest.mark.parametrize("failure", ["unreadable", "transient"])
def test_what_changed_while_it_could_not_be_read_is_read_by_a_later_run_that_does_not_name_it(
    make_pipeline, source, failure
):
    pipe = make_pipeline()
    pipe.index(source.request)
    source.holds(a="alpha", b="new beta", c="gamma", d="delta")
    result = pipe.index(source.with_options(fail_fetch={"b": failure}))
    assert (result["outcome"], result["unread"], result["documents"]["changed"]) == ("degraded", 1, 0)
    assert pipe.stages() == dict.fromkeys("abcd", "indexed"), "what was indexed stays"
    source.fetched()
    result = pipe.index(source.request)
    assert source.fetched() == ["b"]
    assert (result["outcome"], result["unread"], result["documents"]["changed"]) == ("succeeded", 0, 1)
    pipe.index(source.request)
    assert source.fetched() == []


def test_what_the_source_says_is_gone_when_it_is_asked_for_leaves_the_index(make_pipeline, source):
    """No removal names it, and the run, which names changes alone, does not show it."""
    pipe = make_pipeline()
    pipe.index(source.request)
    pipe.index(source.request)
    source.holds(a="alpha", b="new beta", c="gamma", d="delta")
    assert pipe.index(source.with_options(fail_fetch={"b": "unreadable"}))["unread"] == 1
    result = pipe.index(source.with_options(fail_fetch={"b": "gone"}))
    assert (result["outcome"], result["unread"], result["documents"]["deleted"]) == ("succeeded", 0, 1)
    assert pipe.stages() == dict.fromkeys("acd", "indexed")
    assert verify(pipe.runtime).clean
    source.fetched()
    assert pipe.index(source.request)["documents"]["seen"] == 0 and source.fetched() == []


def test_what_is_said_to_be_gone_one_by_one_is_believed_no_sooner_than_all_at_once(make_pipeline, source):
    pipe = make_pipeline(sync={"deletion_guard_count": 1})
    pipe.index(source.request)
    pipe.index(source.request)
    source.holds(a="alpha", b="new beta", c="new gamma")
    assert pipe.index(source.with_options(fail_fetch=dict.fromkeys("bc", "unreadable")))["unread"] == 2
    source.holds(b="new beta", c="new gamma")
    result = pipe.index(source.with_options(fail_fetch=dict.fromkeys("bc", "gone")))
    assert result["outcome"] == "failed" and "3 of 3 documents have vanished" in result["errors"][0]
    assert sorted(pipe.stages()) == ["a", "b", "c"]


def test_what_the_source_says_is_gone_is_not_asked_for(make_pipeline, source):
    pipe = make_pipeline()
    pipe.index(source.request)
    pipe.index(source.request)
    source.holds(a="alpha", b="new beta", c="gamma", d="delta")
    refusing = source.with_options(fail_fetch={"b": "unreadable"})
    pipe.index(refusing)
    source.holds(a="alpha", c="gamma", d="delta")
    source.fetched()
    assert pipe.index(refusing)["documents"]["deleted"] == 1
    assert source.fetched() == [] and sorted(pipe.stages()) == ["a", "c", "d"]


def test_what_a_mended_plugin_failed_on_is_tried_again_though_its_source_can_not_be_read(make_pipeline, source):
    """Its body is stored: what can't be read has not changed."""
    pipe = make_pipeline(plugins={"fake-embedder": {"fail_on": "POISON", "fail_as": "permanent"}})
    source.holds(a="alpha", b="POISON")
    pipe.index(source.request)
    pipe.index(source.request)
    assert pipe.stages() == {"a": "indexed", "b": "quarantined"}
    with pipe.runtime.ledger.write() as tx:
        earlier = {**pipe.unit("b")["error"], "plugins": "fake-embedder 0.9"}
        tx.execute(update(work).where(work.c.stage == "quarantined").values(error=earlier))
    del pipe.runtime.host
    (pipe.runtime.settings.data_dir / "plugins.json").write_text(json.dumps({"version": 1}))
    broken = source.with_options(fail_fetch={"b": "unreadable"})
    result = pipe.index(broken)
    assert (result["outcome"], result["unread"], pipe.stages()["b"]) == ("degraded", 1, "indexed")
    epoch = pipe.unit("b")["epoch"]
    assert pipe.index(broken)["unread"] == 1 and pipe.unit("b")["epoch"] == epoch, "once"


def test_a_document_that_was_dropped_comes_back_with_the_next_sync(make_pipeline, source):
    pipe = make_pipeline()
    pipe.index(source.request)
    dropped = [row for row in list_documents(pipe.runtime, collection=None, status=None) if row["document"] == "b"]
    begin_drop(pipe.runtime, dropped)
    pipe.run()
    assert sorted(pipe.stages()) == ["a", "c", "d"]
    pipe.index(source.request)
    assert sorted(pipe.stages()) == ["a", "b", "c", "d"]


def test_a_document_that_is_dropped_while_its_source_is_read_comes_back_too(make_pipeline, source, monkeypatch):
    """The slice in hand would save where the next run begins, and that one would name only changes."""
    pipe = make_pipeline()
    pipe.index(source.request)
    cls = pipe.runtime.host.registry.get(source.request.connector).cls
    enumerate = cls.enumerate

    async def dropping(self, cursor=None):
        monkeypatch.setattr(cls, "enumerate", enumerate)
        async for event in enumerate(self, cursor):
            if isinstance(event, Complete):
                rows = list_documents(pipe.runtime, collection=None, status=None)
                begin_drop(pipe.runtime, [row for row in rows if row["document"] == "b"])
            yield event

    monkeypatch.setattr(cls, "enumerate", dropping)
    assert pipe.index(source.request)["outcome"] == "succeeded"
    pipe.index(source.request)
    assert sorted(pipe.stages()) == ["a", "b", "c", "d"]


# -- real sources ----------------------------------------------------------------------------------------------------


def found(pipe, query: str) -> set[str]:
    answer = search(pipe.runtime, SearchQuery(text=query, collection="default", limit=10, rerank=False))
    return {hit.document.rpartition("#")[2].rpartition("/")[2] for hit in answer.hits}


def test_the_index_follows_a_repository(make_pipeline, repository, monkeypatch):
    read: list[str] = []
    fetch = GitConnector._fetch
    monkeypatch.setattr(GitConnector, "_fetch", lambda self, one: read.append(one.unique_id) or fetch(self, one))
    request = SourceRequest(connector="git", name="docs", config={"url": str(repository.path)})
    pipe = make_pipeline()
    repository.commit({f"docs/{name}.md": f"The {name} page tells of {name}s." for name in ("apple", "pear", "plum")})
    assert pipe.index(request)["documents"]["new"] == 3 and len(read) == 3
    page = "The pear page tells of pears."
    repository.commit({"docs/pear.md": None, "fruit/pear.md": page, "docs/plum.md": None, "docs/apple.md": "Quinces."})
    repository.commit({"docs/fig.md": "The fig page tells of figs."})
    read.clear()
    documents = pipe.index(request)["documents"]
    assert (documents["new"], documents["changed"], documents["deleted"]) == (2, 1, 2)
    assert sorted(name.rpartition("#")[2] for name in read) == ["docs/apple.md", "docs/fig.md", "fruit/pear.md"]
    assert pipe.stages() == dict.fromkeys(["apple.md", "fig.md", "pear.md"], "indexed")
    assert "fig.md" in found(pipe, "fig page")
    read.clear()
    assert pipe.index(request)["documents"]["seen"] == 0 and not read


def test_the_index_follows_a_bucket(make_pipeline, bucket):
    request = SourceRequest(
        connector="s3", name="bucket", config={"bucket": bucket.name, "endpoint_url": bucket.server.url}
    )
    pipe = make_pipeline()
    bucket.put(**{f"docs/{name}.md": f"The {name} page tells of {name}s." for name in ("apple", "pear", "plum")})
    assert pipe.index(request)["documents"]["new"] == 3 and bucket.fetched() == 3
    bucket.put(**{"docs/apple.md": "Quinces.", "docs/fig.md": "The fig page tells of figs."})
    bucket.delete("docs/plum.md")
    documents = pipe.index(request)["documents"]
    counted = {name: documents[name] for name in ("new", "changed", "deleted", "unchanged")}
    assert counted == {"new": 1, "changed": 1, "deleted": 1, "unchanged": 1} and bucket.fetched() == 2
    assert pipe.stages() == dict.fromkeys(["apple.md", "fig.md", "pear.md"], "indexed")
    bucket.server.gate = lambda environ: ("403 Forbidden", [])
    assert pipe.index(request)["outcome"] == "failed"
    assert len(pipe.stages()) == 3, "nothing was removed for want of a key"
