"""The connectors of servers that change under one's hands keep the contract too."""

from __future__ import annotations

from email.message import EmailMessage

import pytest

from semantik_pipeline.builtin.connectors import imap, web_crawl
from semantik_pipeline.builtin.connectors.imap import ImapConnector
from semantik_pipeline.builtin.connectors.web import WebConnector
from semantik_pipeline.testing.connectors import IncrementalConnectorContract
from semantik_pipeline.testing.imap_server import ImapServer
from semantik_pipeline.testing.web_site import Reply, WebSite


def mail(subject: str, *attachments: str) -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = subject
    message.set_content(f"the text of {subject}")
    for name in attachments:
        message.add_attachment(f"content of {name}", filename=name)
    return message


class TestImap(IncrementalConnectorContract):
    @pytest.fixture(autouse=True)
    def mailbox(self, monkeypatch):
        monkeypatch.setattr(imap, "BATCH", 3)
        with ImapServer() as self.server:
            for folder in ("INBOX", "Archive/ü;UID=1"):
                self.server.put(mail("a"), mail("b", "x.txt", "y.txt"), mail("c"), mail("", "z.txt"), folder=folder)
            self.server.put(mail("seen"), flags=("\\Seen",))
            yield

    def make_plugin(self):
        return ImapConnector({**self.server.config, "folders": ["*"], "exclude_folders": ["Trash"]})

    def change(self):
        with self.server.as_owner() as client:
            client.delete_messages([102])
            client.expunge()
            client.add_flags([103, 105], ["\\Flagged"])
        self.server.put(mail("new", "n.txt"), mail("newer"))
        inbox = f"{self.server.name}INBOX;UID="
        named = {f"{inbox}{one}" for one in ("103", "105", "106", "106#2", "107")}
        return named, {f"{inbox}{one}" for one in ("102", "102#2", "102#3")}


class TestWebCrawl(IncrementalConnectorContract):
    @pytest.fixture(autouse=True)
    def site(self, monkeypatch):
        monkeypatch.setattr(web_crawl, "SAVE_PAGES", 2)
        with WebSite() as self.site:
            self.site.page("/", "home", "/a", "/b/", "/old", "/gone", "/ü?x=1&y=ä", "/c?v", "/d?v", "/e")
            self.site.page("/a", "page a", "/c", "/")
            self.site.page("/b/", "page b", "c")
            self.site.page("/b/c", "page bc", "/c", etag=False)
            self.site.page("/c", "page c")
            self.site.page("/%C3%BC?x=1&y=%C3%A4", "page ü")
            self.site.replies["/old"] = Reply(status=301, headers={"Location": "/new"})
            self.site.page("/new", "new page")
            self.site.page("/c?v", "a copy of page c", head='<link rel="canonical" href="/c">')
            self.site.page("/d?v", "a copy of nothing", head='<link rel="canonical" href="/d">')
            self.site.page("/e", "not to be indexed", head='<meta name="robots" content="noindex">')
            yield

    def make_plugin(self):
        return WebConnector({"start_urls": [self.site.url], "allow_private": True, "requests_per_second": 1000})


class TestWebSitemap(TestWebCrawl):
    def make_plugin(self):
        urls = [f"{self.site.url}{path}" for path in ("/a", "/b/c", "/c", "/old", "/new", "/missing")]
        self.site.replies["/sitemap.txt"] = Reply(body="\n".join(urls).encode(), media_type="text/plain")
        sitemaps = [f"{self.site.url}/sitemap.txt"]
        return WebConnector({"sitemaps": sitemaps, "allow_private": True, "requests_per_second": 1000})
