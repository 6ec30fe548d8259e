"""Every built-in connector keeps the contract that authors are given."""

from __future__ import annotations

import json

import pytest

from semantik_pipeline.builtin.connectors import directory, git, json_lines, s3
from semantik_pipeline.builtin.connectors.directory import DirectoryConnector
from semantik_pipeline.builtin.connectors.file_uri import quoted
from semantik_pipeline.builtin.connectors.git import GitConnector
from semantik_pipeline.builtin.connectors.jsonl import JsonlConnector
from semantik_pipeline.builtin.connectors.s3 import S3Connector
from semantik_pipeline.contracts import ConnectorPlugin
from semantik_pipeline.documents import IngestedDocument, content_hash
from semantik_pipeline.testing.connectors import ConnectorContract, IncrementalConnectorContract


class TestDirectory(IncrementalConnectorContract):
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path, monkeypatch):
        monkeypatch.setattr(directory, "BATCH", 3)  # many checkpoints from few files
        for name in (
            "a.txt",
            "b/c/d.md",
            "b/c.txt",
            "b/z/y.py",
            "b.txt",
            "e e.txt",
            "ü\n.txt",
            "z/empty.txt",
            "z/x.txt",
        ):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("" if "empty" in name else f"content of {name}")
        self.path = str(tmp_path)

    def make_plugin(self):
        return DirectoryConnector({"path": self.path})


class TestJsonl(IncrementalConnectorContract):
    @pytest.fixture(autouse=True)
    def corpus(self, tmp_path, monkeypatch):
        monkeypatch.setattr(json_lines, "BATCH_LINES", 3)
        for part in range(3):
            lines = [json.dumps({"_id": f"{part}-{n}", "title": f"T{n}", "text": f"text {n}"}) for n in range(8)]
            (tmp_path / f"part-{part}.jsonl").write_text("\n".join([*lines[:4], "{bad", "", *lines[4:]]) + "\n")
        self.path = str(tmp_path / "*.jsonl")

    def make_plugin(self):
        return JsonlConnector({"path": self.path})


class TestGit(IncrementalConnectorContract):
    @pytest.fixture(autouse=True)
    def tree(self, repository, monkeypatch):
        monkeypatch.setattr(git, "BATCH", 3)
        names = ["a.txt", "b/c/d.md", "b/c.txt", "b/z/y.py", "b.txt", "e e.txt", "ü\n#.txt", "z/x.txt", "\udcff.txt"]
        repository.commit({name: f"content of {name!a}" for name in names} | {"z/empty.txt": ""})
        repository.commit({"link": "a.txt"}, mode=0o120000)
        repository.commit({"module": b"0" * 39 + b"1"}, mode=0o160000)
        self.repository = repository

    def make_plugin(self):
        return GitConnector({"url": str(self.repository.path)})

    def change(self):
        gone = {"b/c.txt": None, "link": None, "e e.txt": None}
        new = {
            "b/z/y.py": "changed",
            "renamed.txt": "content of 'e e.txt'",
            "q/1.txt": "1",
            "q/2.txt": "2",
            "q/3.txt": "3",
        }
        self.repository.commit(gone | new)
        name = self.repository.path.as_uri()
        return ({f"{name}#{quoted(path)}" for path in paths} for paths in (new, gone))


class TestS3(IncrementalConnectorContract):
    @pytest.fixture(autouse=True)
    def objects(self, bucket, monkeypatch):
        monkeypatch.setattr(s3, "PAGE", 3)
        bucket.put(**{name: f"content of {name!a}" for name in ("a", "b/", "b/c", "b/ü", "b c", "d%", "e?", "z")})
        bucket.put(**{"folder/": "", "empty.txt": ""})
        self.config = {"bucket": bucket.name, "endpoint_url": bucket.server.url}

    def make_plugin(self):
        return S3Connector(self.config)


class TestLoadDocumentsAlone(ConnectorContract):
    """The contract also holds a connector of a stranger that writes the one method that must be there."""

    def make_plugin(self):
        class Two(ConnectorPlugin):
            PLUGIN_ID = "two"

            async def load_documents(self, source_id=None):
                for name in ("a", "b"):
                    yield IngestedDocument(name, name, "two", {}, content_hash(name))

        return Two()
