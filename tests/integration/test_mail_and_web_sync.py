"""Mailboxes and web sites through the pipeline: the index follows, and the server is asked for what changed only."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import EmailMessage

import pytest

from semantik_pipeline.builtin.connectors import imap, web_crawl
from semantik_pipeline.operations import SourceRequest
from semantik_pipeline.search import SearchQuery, search
from semantik_pipeline.testing.imap_server import PASSWORD, ImapServer
from semantik_pipeline.testing.web_site import Reply, WebSite


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ImapServer]:
    monkeypatch.setenv("TEST_MAIL_PASSWORD", PASSWORD)
    with ImapServer() as one:
        yield one


@pytest.fixture
def site() -> Iterator[WebSite]:
    with WebSite() as one:
        yield one


def mailbox(server: ImapServer, password_env: str = "TEST_MAIL_PASSWORD") -> SourceRequest:
    config = {**server.config, "password_env": password_env}
    del config["password"]
    return SourceRequest(connector="imap", name="mail", config=config)


def website(site: WebSite, **options: object) -> SourceRequest:
    quick = {"allow_private": True, "requests_per_second": 1000, "timeout": 5}
    return SourceRequest(connector="web", name="site", config={**quick, **options})


def mail(subject: str, text: str, attachment: str | None = None) -> EmailMessage:
    message = EmailMessage()
    message["Subject"], message["From"] = subject, "ann@mail.test"
    message.set_content(text)
    if attachment:
        message.add_attachment(attachment, filename="notes.txt")
    return message


def fetches(server: ImapServer) -> int:
    """Messages and attachments that were downloaded since this was asked last."""
    count = len([line for line in server.commands if "BODY.PEEK" in line])
    server.commands.clear()
    return count


def found(pipe, query: str, **options: object) -> list[str]:
    return [hit.document for hit in search(pipe.runtime, SearchQuery(text=query, rerank=False, **options)).hits]


# -- mail -------------------------------------------------------------------------------------------------------------


def test_the_index_follows_a_mailbox(make_pipeline, server):
    server.put(mail("Lunch", "Soup on Monday."), mail("Report", "See the notes.", "Turbines are loud."))
    pipe = make_pipeline()
    first = pipe.index(mailbox(server))
    assert (first["outcome"], first["documents"]["new"]) == ("succeeded", 3)
    assert found(pipe, "loud turbines")[0] == f"{server.name}INBOX;UID=102#2"
    fetches(server)

    assert pipe.index(mailbox(server))["documents"]["seen"] == 0
    assert fetches(server) == 0

    with server.as_owner() as client:
        client.delete_messages([102])
        client.expunge()
    server.put(mail("Dinner", "Fish on Friday."))
    documents = pipe.index(mailbox(server))["documents"]
    assert (documents["new"], documents["deleted"], documents["changed"]) == (1, 2, 0)
    assert fetches(server) == 1
    assert pipe.stages() == {"INBOX;UID=101": "indexed", "INBOX;UID=103": "indexed"}


def test_new_flags_change_what_can_be_filtered_and_embed_nothing(make_pipeline, server):
    server.put(mail("Lunch", "Soup on Monday."), mail("Dinner", "Fish on Friday."))
    pipe = make_pipeline()
    pipe.index(mailbox(server))
    seen = {"must": [{"key": "metadata.flags", "match": {"value": "seen"}}]}
    assert found(pipe, "soup", filter=seen) == []
    fetches(server)
    with server.as_owner() as client:
        client.add_flags([101], ["\\Seen"])
    again = pipe.index(mailbox(server))
    assert again["chunks"]["embedded"] == 0
    assert fetches(server) == 1
    assert found(pipe, "soup", filter=seen) == [f"{server.name}INBOX;UID=101"]


def test_the_first_run_over_a_mailbox_is_many_slices_and_downloads_once(make_pipeline, server, monkeypatch):
    monkeypatch.setattr(imap, "BATCH", 4)
    server.put(*[mail(f"m{n}", f"text {n}") for n in range(12)])
    pipe = make_pipeline(work={"time_slice": 0.001})
    assert pipe.index(mailbox(server))["documents"]["new"] == 12
    assert fetches(server) == 3  # four messages at a time


def test_a_refused_password_fails_the_sync_at_once_and_is_not_shown(make_pipeline, server, monkeypatch):
    monkeypatch.setenv("TEST_WRONG_PASSWORD", "not this one")
    pipe = make_pipeline()
    result = pipe.index(mailbox(server, "TEST_WRONG_PASSWORD"))
    assert result["outcome"] == "failed"
    assert len([line for line in server.commands if "LOGIN" in line]) == 1, "trying again would lock the account"
    assert "password_env" in str(result) and "not this one" not in str(result)


# -- web --------------------------------------------------------------------------------------------------------------


def texts(site: WebSite, **contents: str) -> None:
    """``name=text`` as ``/name.txt``, all linked from the start."""
    for name, text in contents.items():
        site.replies[f"/{name}.txt"] = Reply(body=text.encode(), media_type="text/plain")
    site.page("/", "start", *[path for path in site.replies if path.endswith(".txt")])


def test_the_index_follows_a_site(make_pipeline, site):
    texts(site, a="apples are red", b="bananas are yellow", c="cherries are dark")
    pipe = make_pipeline()
    source = website(site, start_urls=[site.url], include=["*.txt"])
    first = pipe.index(source)
    assert (first["outcome"], first["documents"]["new"]) == ("succeeded", 3)
    assert site.asked() == ["/", "/a.txt", "/b.txt", "/c.txt"], "each page is asked for once"
    assert found(pipe, "yellow bananas")[0] == f"{site.url}/b.txt"

    documents = pipe.index(source)["documents"]
    assert (documents["unchanged"], documents["new"], documents["changed"]) == (3, 0, 0)
    assert [request.status for request in site.requests if request.path != "/robots.txt"] == [304] * 4
    site.asked()

    texts(site, b="bananas are green", d="dates are brown")
    del site.replies["/c.txt"]
    documents = pipe.index(source)["documents"]
    assert [documents[name] for name in ("new", "changed", "deleted", "unchanged")] == [1, 1, 1, 1]
    answers = {request.path: request.status for request in site.requests}
    assert {path: status for path, status in answers.items() if status == 200} == {
        "/": 200,
        "/b.txt": 200,
        "/d.txt": 200,
    }
    assert pipe.stages() == {"a.txt": "indexed", "b.txt": "indexed", "d.txt": "indexed"}


def test_a_page_that_asks_not_to_be_indexed_is_listed_as_skipped(make_pipeline, site):
    texts(site, a="apples are red", b="bananas are yellow")
    pipe = make_pipeline()
    source = website(site, start_urls=[site.url], include=["*.txt"])
    pipe.index(source)
    hidden = {"X-Robots-Tag": "noindex"}
    site.replies["/b.txt"] = Reply(body=b"bananas are hidden", media_type="text/plain", headers=hidden)
    result = pipe.index(source)
    assert (result["outcome"], result["documents"]["skipped"]) == ("succeeded", 1)
    assert found(pipe, "yellow bananas") == [f"{site.url}/a.txt"]
    site.asked()
    documents = pipe.index(source)["documents"]
    assert (documents["unchanged"], documents["skipped"]) == (1, 1)
    assert [request.status for request in site.requests if request.path != "/robots.txt"] == [304] * 3


def test_a_site_that_is_away_for_a_while_keeps_its_documents(make_pipeline, site):
    texts(site, a="apples are red", b="bananas are yellow")
    pipe = make_pipeline(work={"max_attempts": 2})
    source = website(site, start_urls=[site.url], include=["*.txt"])
    pipe.index(source)
    good = dict(site.replies)
    site.replies["/b.txt"] = Reply(status=500, etag=False)
    assert pipe.index(source)["documents"]["deleted"] == 0
    site.replies.update({path: Reply(status=503, etag=False) for path in good})
    assert pipe.index(source)["outcome"] == "failed"
    assert pipe.stages() == {"a.txt": "indexed", "b.txt": "indexed"}
    site.replies = good
    assert pipe.index(source)["documents"]["unchanged"] == 2


def test_a_crawl_of_hours_is_many_slices_and_asks_for_each_page_once(make_pipeline, site, monkeypatch):
    monkeypatch.setattr(web_crawl, "SAVE_PAGES", 3)
    texts(site, **{f"p{n:02}": f"page number {n}" for n in range(20)})
    site.replies["/p07.txt"] = Reply(status=429, headers={"Retry-After": "0"}, etag=False)  # nothing waits here
    pipe = make_pipeline(work={"time_slice": 0.001})
    result = pipe.index(website(site, start_urls=[site.url], include=["*.txt"]))
    assert result["documents"]["new"] == 19
    asked = [path for path in site.asked() if path != "/p07.txt"]
    assert len(asked) == len(set(asked)) == 20


def test_a_private_address_is_refused_with_the_way_out(make_pipeline, site):
    texts(site, a="secrets of the intranet")
    result = make_pipeline().index(website(site, start_urls=[site.url], allow_private=False))
    assert result["outcome"] == "failed" and "allow_private" in str(result)
    assert site.requests == []
