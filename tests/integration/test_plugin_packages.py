"""Strangers' plugins, as strangers ship them: packages written in a temporary folder and installed with pip.

They are installed beside this environment (``pip install --target``) and seen by subprocesses alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from semantik_pipeline.contracts import KINDS
from tests import forks

# Each kind with the least that its contract demands; half of them inherit nothing.
GOOD = {
    "source": """
        from semantik_pipeline.plugins import IngestedDocument, content_hash
        class Source:
            PLUGIN_ID = "acme-source"
            async def load_documents(self, source_id=None):
                for number, text in enumerate(("hello", "leases expire when nobody renews them")):
                    key = content_hash(text)
                    yield IngestedDocument(text, f"doc-{number + 1}", "acme", {}, key, None, "text/x-acme")
        """,
    "parser": """
        from semantik_pipeline.plugins import ParsedDocument, ParserPlugin
        class Parser(ParserPlugin):
            PLUGIN_ID = "acme-parser"
            def parse(self, content, *, file_path=None, media_type=None, metadata=None):
                return ParsedDocument(content.decode().upper())
        def job(host, content):
            return host.call(host.instance("acme-parser").parse, content).text
        """,
    "chunker": """
        from semantik_pipeline.plugins import Chunk
        class Chunker:
            PLUGIN_ID = "acme_chunker"
            def chunk(self, content, config, progress_callback=None):
                return [Chunk(content, 0, len(content), 0, 1)]
        """,
    "extractor": """
        from semantik_pipeline.plugins import ExtractionResult, ExtractorPlugin
        class Extractor(ExtractorPlugin):
            PLUGIN_ID = "acme-extractor"
            async def extract(self, text, extraction_types=None, options=None):
                return ExtractionResult(language="en")
        """,
    "embedder": """
        class Embedder:
            PLUGIN_ID = "acme-embedder"
            async def embed_texts(self, texts, **kwargs):
                return [[float(len(text)), 1.0] for text in texts]
        """,
    "reranker": """
        from semantik_pipeline.plugins import PluginConfigError, RerankerPlugin, RerankResult
        class Reranker(RerankerPlugin):
            PLUGIN_ID = "acme-reranker"
            PLUGIN_VERSION = "3.2.1"
            METADATA = {"name": "Acme Reranker", "requires": ["packaging>=20"], "semantik_version": ">=2.0,<3"}
            @classmethod
            def get_config_schema(cls):
                return {"factor": {"type": "number", "default": 1.0}, "api_key": {"type": "string", "secret": True}}
            @classmethod
            async def health_check(cls, config=None):
                return "api_key" in config
            async def rerank(self, query, documents):
                return [RerankResult(i, len(text) * self.config["factor"]) for i, text in enumerate(documents)]
        """,
    "store": """
        import numpy, operator, os, pathlib, pickle
        from semantik_pipeline.plugins import ScoredPoint, StoredPoint
        def meets(payload, filter):
            filter = filter or {}
            return all(one(payload, c) for c in filter.get("must", [])) and not any(
                one(payload, c) for c in filter.get("must_not", [])
            ) and (not filter.get("should") or any(one(payload, c) for c in filter["should"]))
        def one(payload, condition):
            if "key" not in condition:
                return meets(payload, condition)
            value, match, bounds = payload.get(condition["key"]), condition.get("match"), condition.get("range", {})
            if match is not None:
                return value in match["any"] if "any" in match else value == match["value"]
            tests = {"lt": operator.lt, "lte": operator.le, "gt": operator.gt, "gte": operator.ge}
            given = [(name, bound) for name, bound in bounds.items() if bound is not None]
            return value is not None and all(tests[name](value, bound) for name, bound in given)
        class Store:
            PLUGIN_ID = "acme-store"
            def __init__(self, config=None):
                self.config, self.file = config or {}, pathlib.Path(os.environ["ACME_MARKS"], "store.pickle")
                self.indexes = pickle.loads(self.file.read_bytes()) if self.file.exists() else {}
            def keep(self): self.file.write_bytes(pickle.dumps(self.indexes))
            def create_index(self, name, spec): self.indexes.setdefault(name, {}); self.keep()
            def drop_index(self, name): self.indexes.pop(name, None); self.keep()
            def list_indexes(self): return list(self.indexes)
            def some(self, name, ids, filter):
                there = self.indexes[name]
                found = there.values() if ids is None else [there[i] for i in ids if i in there]
                return [point for point in found if meets(point.payload, filter)]
            def insert(self, name, points, condition=None):
                for point in points:
                    known = self.indexes[name].get(point.id)
                    if known is None or meets(known.payload, condition):
                        self.indexes[name][point.id] = point
                self.keep()
            def search(self, name, requests): return [self.leg(name, request) for request in requests]
            def leg(self, name, request):
                def score(p):
                    lengths = numpy.linalg.norm(p.vector) * numpy.linalg.norm(request.vector)
                    return float(p.vector @ request.vector / lengths)
                found = [] if request.vector is None else self.some(name, None, request.filter)
                best = sorted(((score(p), p) for p in found), key=lambda pair: -pair[0])[: request.limit]
                whole = request.with_payload
                return [ScoredPoint(id=p.id, score=s, payload=p.payload if whole else {}) for s, p in best]
            def delete(self, name, ids=None, filter=None):
                for point in self.some(name, ids, filter):
                    del self.indexes[name][point.id]
                self.keep()
            def count(self, name, filter=None): return len(self.some(name, None, filter))
            def scroll(self, name, filter=None, fields=None, after=None, limit=1000):
                def part(payload): return {k: v for k, v in payload.items() if fields is None or k in fields}
                found = [p for p in self.some(name, None, filter) if after is None or p.id >= after]
                found.sort(key=lambda p: p.id)
                page = [StoredPoint(id=p.id, payload=part(p.payload)) for p in found[:limit]]
                return page, found[limit].id if len(found) > limit else None
            def set_payload(self, name, ids, payload, condition=None):
                for point in self.some(name, ids, condition):
                    point.payload.update(payload)
                self.keep()
        """,
}
# Entry-point names: the id alone, with its kind before it, with underscores.
GOOD_NAMES = {
    "source": "connector-acme-source",
    "parser": "acme-parser",
    "chunker": "chunking-acme-chunker",
    "extractor": "extractor_acme_extractor",
    "embedder": "acme-embedder",
    "reranker": "reranker-acme-reranker",
    "store": "vectordb-acme-store",
}
GOOD_CLASSES = {name: name.capitalize() for name in GOOD}

# All but the reranker, which has its own, take one option.
OPTION = "{}.get_config_schema = classmethod(lambda cls: {{'mark': {{'type': 'string', 'default': 'none'}}}})\n"
PLAIN = [name for name in GOOD if name != "reranker"]
GOOD |= {name: textwrap.dedent(GOOD[name]) + OPTION.format(GOOD_CLASSES[name]) for name in PLAIN}

BASE = "class P:\n    PLUGIN_ID = {id!r}\n    PLUGIN_TYPE = 'parser'\n    def parse(self, content): ...\n"
MANIFEST = (
    "from semantik_pipeline.plugins import ParserPlugin\n"
    "class P(ParserPlugin):\n    PLUGIN_ID = {id!r}\n    METADATA = {about!r}\n    def parse(self, content): ...\n"
)
BAD = {
    "bad-import": "import no_such_module_anywhere",
    "bad-exit": "raise SystemExit(9)",
    "bad-syntax": "def (:",
    "bad-shape": "class P:\n    PLUGIN_ID = 'bad-shape'\n    PLUGIN_TYPE = 'reranker'\n    def rerank(self): ...\n",
    "bad-empty": "class P:\n    PLUGIN_ID = 'bad-empty'\n    PLUGIN_TYPE = 'parser'\n",
    "bad-kind": "class P:\n    PLUGIN_ID = 'bad-kind'\n    PLUGIN_TYPE = 'banana'\n",
    "bad-id": BASE.format(id="another-id"),
    "bad-noid": "class P:\n    def parse(self, content): ...\n",
    "bad-object": "P = 42",
    "bad-api": MANIFEST.format(id="bad-api", about={"semantik_version": ">=3"}),
    "bad-needs": MANIFEST.format(id="bad-needs", about={"requires": ["packaging>=9999"]}),
    "bad-lacks": MANIFEST.format(id="bad-lacks", about={"requires": ["no-such-distribution-anywhere"]}),
    "Bad.Name": BASE.format(id="whatever"),
    "embedding-bad-prefix": BASE.format(id="bad-prefix"),
    # conflicts: with a built-in, and with the other package
    "connector-directory": BASE.format(id="directory"),
    "acme-parser": BASE.format(id="acme-parser"),
}
# The same of each kind: it breaks when it is imported, wants another API, can't be called, or takes a built-in's id.
BUILT_IN = {
    "connector": "directory",
    "parser": "text",
    "chunking": "recursive",
    "extractor": "patterns",
    "embedding": "dense-local",
    "reranker": "late-interaction",
    "vectordb": "qdrant-edge",
}


def least(kind: str, plugin_id: str, parameters: str = "*args, **options", **about: str) -> str:
    """A class with the methods that are a must, which take these parameters."""
    methods = "".join(f"    def {name}(self, {parameters}): ...\n" for name in KINDS[kind][1][0])
    return f"class P:\n    PLUGIN_ID = {plugin_id!r}\n    PLUGIN_TYPE = {kind!r}\n    METADATA = {about!r}\n{methods}"


for kind, built_in in BUILT_IN.items():
    BAD[f"broken-{kind}"] = "raise RuntimeError('it breaks')"
    BAD[f"future-{kind}"] = least(kind, f"future-{kind}", semantik_version=">=3")
    BAD[f"crooked-{kind}"] = least(kind, f"crooked-{kind}", "a, b, c, d, e, f, g")
    if kind != "connector":
        BAD[f"{kind}-{built_in}"] = least(kind, built_in)

BUILD = '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'


def write_package(folder: Path, name: str, version: str, modules: dict[str, str], entries: dict[str, str]) -> Path:
    package = name.replace("-", "_")
    (folder / package).mkdir(parents=True)
    (folder / package / "__init__.py").write_text("")
    for module, body in modules.items():
        mark = (
            "import os, pathlib\n"
            f"pathlib.Path(os.environ['ACME_MARKS'], {f'{package}.{module}'!r}).touch()\n"  # proof of being imported
        )
        (folder / package / f"{module}.py").write_text(mark + textwrap.dedent(body))
    lines = [f'"{entry}" = "{package}.{target}"' for entry, target in entries.items()]
    (folder / "pyproject.toml").write_text(
        f'{BUILD}\n[project]\nname = "{name}"\nversion = "{version}"\n\n'
        '[project.entry-points."semantik.plugins"]\n' + "\n".join(lines) + "\n"
    )
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder with both packages installed."""
    root = tmp_path_factory.mktemp("packages")
    good = write_package(
        root / "good", "acme-plugins", "1.5", GOOD, {GOOD_NAMES[m]: f"{m}:{GOOD_CLASSES[m]}" for m in GOOD}
    )
    modules = {name.lower().replace("-", "_").replace(".", "_"): body for name, body in BAD.items()}
    bad = write_package(
        root / "bad",
        "rotten-plugins",
        "0.1",
        modules,
        {name: f"{module}:P" for name, module in zip(BAD, modules, strict=True)},
    )
    target = root / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "--no-compile", "--target", target, good, bad], check=True, timeout=120)
    return target


@pytest.fixture
def ask(site, tmp_path):
    """Run Python code where both packages are installed; it prints one JSON value. ``state`` is its state file."""
    marks = tmp_path / "marks"
    marks.mkdir()
    state = tmp_path / "plugins.json"

    def ask(code: str, **environment: str):
        prelude = (
            "import json, sys, logging\nlogging.disable()\n"
            "from semantik_pipeline.plugins.host import PluginHost\n"
            "from semantik_pipeline.plugins import administer\n"
            "state = sys.argv[1]\n"
        )
        found = subprocess.run(
            [sys.executable, "-c", prelude + textwrap.dedent(code), str(state)],
            env={**os.environ, "PYTHONPATH": str(site), "ACME_MARKS": str(marks), **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert found.returncode == 0, found.stderr
        return json.loads(found.stdout)

    ask.marks = lambda: {path.name for path in marks.iterdir()}
    ask.state = state
    return ask


def test_a_plugin_of_every_kind_is_found_and_used(ask):
    found = ask(
        """
        import numpy
        from semantik_pipeline.contracts import ChunkConfig
        from semantik_pipeline.documents import IndexSpec, Point
        host = PluginHost.start(state)
        def use(plugin_id, method, *args, **options):
            return host.call(getattr(host.instance(plugin_id), method), *args, **options)
        documents = host.iterate(host.instance("acme-source").load_documents())
        use("acme-store", "create_index", "i", IndexSpec(dimension=2))
        point = Point(id="p", vector=numpy.zeros(2), sparse_text="", payload={})
        use("acme-store", "insert", "i", [point], condition={"must": []})
        print(json.dumps({
            "kinds": {p.kind: p.origin for p in host.registry if p.id.startswith("acme")},
            "connector": [document.check().unique_id for document in documents],
            "parser": use("acme-parser", "parse", b"abc", file_path="x").text,
            "chunking": use("acme-chunker", "chunk", "abc", ChunkConfig())[0].text,
            "extractor": use("acme-extractor", "extract_batch", ["abc"])[0].language,
            "embedding": use("acme-embedder", "embed_texts", ["abc"], batch_size=3, mode="query"),
            "dimension": use("acme-embedder", "get_dimension"),
            "reranker": use("acme-reranker", "rerank", "q", ["a", "abc"], top_k=1)[1].score,
            "vectordb": use("acme-store", "count", "i"),
            "fingerprint": len(host.fingerprint("acme-embedder")),
        }))
        host.close()
        """
    )
    kinds = found.pop("kinds")
    assert set(kinds) == {"connector", "parser", "chunking", "extractor", "embedding", "reranker", "vectordb"}
    assert set(kinds.values()) == {"acme-plugins 1.5"}
    assert found == {
        "connector": ["doc-1", "doc-2"],
        "parser": "ABC",
        "chunking": "abc",
        "extractor": "en",
        "embedding": [[3.0, 1.0]],
        "dimension": 2,
        "reranker": 3.0,
        "vectordb": 1,
        "fingerprint": 32,
    }


STRANGERS = """
[store]
plugin = "acme-store"
[search]
reranker = "acme-reranker"
[collection.embedding]
plugin = "acme-embedder"
[collection.chunking]
plugin = "acme-chunker"
[collection.parsers.by_media_type]
"text/x-acme" = "acme-parser"
[[collection.extraction.chunk]]
plugin = "acme-extractor"
"""


def test_strangers_plugins_together_index_and_answer(ask, site, tmp_path):
    """The whole way of a document, through the command line, with nobody's plugin but a stranger's."""
    config = tmp_path / "semantik.toml"
    config.write_text(STRANGERS)
    environment = {
        **os.environ,
        "PYTHONPATH": str(site),
        "ACME_MARKS": str(tmp_path / "marks"),
        "SEMANTIK_DATA_DIR": str(tmp_path / "data"),
        "SEMANTIK_CONFIG": str(config),
    }

    def semantik(*arguments: str, code: int = 0) -> dict:
        done = forks.semantik([*arguments, "--json"], environment)
        assert done.code == code, f"{done.out}\n{done.err}"
        return done.json()

    semantik("sources", "add", "acme-source", "--name", "acme")
    for known in (0, 2):
        (synced,) = semantik("sources", "sync", "acme", "--wait")["sources"]
        assert (synced["outcome"], synced["documents"]["unchanged"]) == ("succeeded", known), synced
    language = {"must": [{"key": "language", "match": {"value": "en"}}]}  # as the extractor has it
    answer = semantik("search", "leases", "--filter", json.dumps(language))
    assert {hit["document"]: hit["text"] for hit in answer["hits"]} == {
        "doc-1": "HELLO",  # as the parser has it
        "doc-2": "LEASES EXPIRE WHEN NOBODY RENEWS THEM",
    }
    assert answer["reranked"] is True
    assert answer["hits"][0]["scores"]["rerank"] is not None
    command = [sys.executable, "-m", "semantik_pipeline.cli", "verify", "--json"]  # as a process that nobody prepared
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    report = json.loads(done.stdout)
    assert (report["points_found"], report["missing"], report["orphaned"], report["stale"]) == (2, 0, 0, 0)


def test_a_strangers_parser_works_in_a_child_process(ask):
    found = ask(
        """
        from acme_plugins.parser import job
        from semantik_pipeline.plugins.child import ChildPool
        pool = ChildPool(1, state, kinds=["parser"], memory_mb=400)
        print(json.dumps(pool.run(job, b"abc", deadline=60)))
        pool.close()
        """
    )
    assert found == "ABC"


@pytest.mark.parametrize("disabled", [set(GOOD), {"chunker"}], ids=["one of every kind", "one alone"])
def test_a_disabled_plugin_is_never_imported(ask, disabled):
    ids = {f"acme-{module}" for module in disabled}
    ask.state.write_text(json.dumps({"version": 1, "disabled_ids": sorted(ids)}))
    found = ask(
        """
        host = PluginHost.start(state)
        try:
            host.registry.get("acme-chunker")
        except Exception as error:
            said = str(error)
        infos = {info.id: info.status for info in administer.list_plugins(state)}
        print(json.dumps([said, [d.id for d in host.report.disabled], infos]))
        """
    )
    said, reported, statuses = found
    assert "semantik plugins enable acme-chunker" in said
    assert set(reported) == ids
    assert all((statuses[f"acme-{module}"] == "disabled") == (module in disabled) for module in GOOD)
    imported = {mark.partition(".")[2] for mark in ask.marks() if mark.startswith("acme_plugins.")}
    assert imported == set(GOOD) - disabled


def test_a_process_imports_only_the_kinds_it_needs(ask):
    ask("PluginHost.start(state, kinds=['embedding', 'reranker']); print(1)")
    imported = {mark.partition(".")[2] for mark in ask.marks() if mark.startswith("acme")}
    assert imported == {"embedder", "reranker", "parser"}  # the parser's entry point does not name its kind


def test_what_the_state_file_says_reaches_the_plugin(ask):
    configs = {f"acme-{name}": {"mark": f"of the {name}"} for name in PLAIN}
    configs["acme-reranker"] = {"factor": 2.5, "api_key_env": "KEY"}
    ask.state.write_text(json.dumps({"version": 1, "configs": configs}))
    found = ask(
        """
        host = PluginHost.start(state)
        plugin = host.instance("acme-reranker")
        others = [one.id for one in host.registry if one.id.startswith("acme") and one.id != "acme-reranker"]
        marks = {one.replace("_", "-"): host.instance(one).config["mark"] for one in others}
        print(json.dumps([host.call(plugin.rerank, "q", ["ab"])[0].score, plugin.config["api_key"],
                          administer.show_plugin(state, "acme-reranker").config, marks]))
        """,
        KEY="s3cret-value",
    )
    assert found[:3] == [5.0, "s3cret-value", {"factor": 2.5, "api_key_env": "KEY"}]
    assert found[3] == {f"acme-{name}": f"of the {name}" for name in PLAIN}


def test_configuring_checks_and_writes_the_state_file(ask):
    found = ask(
        """
        def refused(plugin="acme-reranker", **options):
            try:
                administer.configure(state, plugin, options)
            except Exception as error:
                return type(error).__name__ + ": " + str(error)
        before = [refused(factr=1), refused(factor="x"), refused(api_key="hush-hush")]
        info = administer.configure(state, "acme-reranker", {"factor": 2, "api_key_env": "NO_SUCH_VARIABLE"})
        sick = administer.show_plugin(state, "acme-reranker", health=True)
        host = PluginHost.start(state)
        unset = administer.configure(state, "acme-reranker", {}, unset=["factor"])
        others = [one.id for one in host.registry if one.id.startswith("acme") and one.id != "acme-reranker"]
        wrong = {one: [refused(one, mark=3), refused(one, mrk="x")] for one in others}
        written = [administer.configure(state, one, {"mark": "new"}).config for one in others]
        print(json.dumps([before, info.config, info.revision, sick.health, sick.reason,
                          str(administer.check_health(host, "acme-reranker").status), unset.config, wrong, written]))
        """
    )
    before, config, revision, health, reason, again, unset, wrong, written = found
    assert len(wrong) == len(PLAIN)
    for said in wrong.values():
        assert ["mark" in said[0], "mrk" in said[1]] == [True, True]
    assert written == [{"mark": "new"}] * len(PLAIN)
    assert ["factr" in before[0], "factor" in before[1], "api_key_env" in before[2]] == [True] * 3
    assert "hush-hush" not in str(before)
    assert (config, revision) == ({"factor": 2, "api_key_env": "NO_SUCH_VARIABLE"}, 1)
    assert (health, again) == ("unhealthy", "unhealthy")
    assert "NO_SUCH_VARIABLE" in reason
    assert unset == {"api_key_env": "NO_SUCH_VARIABLE"}


def test_enabling_and_disabling_go_through_the_state_file(ask):
    found = ask(
        """
        off = administer.disable(state, "acme-store")
        again = administer.disable(state, "acme_store")
        on = administer.enable(state, "acme-store")
        try:
            administer.enable(state, "acme-stor")
        except Exception as error:
            unknown = str(error)
        print(json.dumps([off.status, off.enabled, off.revision, again.revision, on.status, on.revision, unknown]))
        """
    )
    assert found[:6] == ["disabled", False, 1, 1, "loaded", 2]
    assert "Did you mean acme-store" in found[6]


REASONS = {
    "bad-import": ["ModuleNotFoundError", "no_such_module_anywhere", "bad_import.py, line 3"],
    "bad-exit": ["SystemExit: 9"],
    "bad-syntax": ["SyntaxError"],
    "bad-shape": ["expected rerank(self, query, documents", "found rerank(self)"],
    "bad-empty": ["lacks parse(self, content"],
    "bad-kind": ["'banana'", "connector"],
    "bad-id": ["'bad-id'", "'another-id'"],
    "bad-noid": ["PLUGIN_ID"],
    "bad-object": ["int"],
    "bad-api": [">=3", "2.0.0"],
    "bad-needs": ["packaging>=9999", "is installed"],
    "bad-lacks": ["no-such-distribution-anywhere", "not installed"],
    "Bad.Name": ["'Bad.Name'", "PLUGIN_ID"],
    "bad-prefix": ["embedding", "parser-bad-prefix"],
    **{f"broken-{kind}": ["RuntimeError: it breaks", "line 3"] for kind in BUILT_IN},
    **{f"future-{kind}": [f"'future-{kind}' needs the plugin API >=3"] for kind in BUILT_IN},
    **{
        f"crooked-{kind}": ["does not match the contract: expected", "found", "(self, a, b, c, d, e, f, g)"]
        for kind in BUILT_IN
    },
}


def test_what_is_wrong_is_reported_and_harms_nothing_else(ask):
    found = ask(
        """
        host = PluginHost.start(state)
        report = host.report.to_dict()
        try:
            host.registry.get("bad-needs")
        except Exception as error:
            said = str(error)
        infos = administer.list_plugins(state)
        print(json.dumps({
            "report": report, "said": said, "torch": "torch" in sys.modules,
            "parser": host.registry.get("acme-parser").origin,
            "directory": host.registry.get("directory").builtin,
            "listed": [[info.id, info.status, info.reason] for info in infos if info.origin == "rotten-plugins 0.1"],
        }))
        """
    )
    failed = {outcome["entry_point"]: outcome for outcome in found["report"]["failed"] if not outcome["builtin"]}
    assert {name.removeprefix("embedding-") for name in failed} == set(REASONS)
    for name, outcome in failed.items():
        assert all(part in outcome["reason"] for part in REASONS[name.removeprefix("embedding-")]), outcome
        assert outcome["origin"] == "rotten-plugins 0.1"
    conflicts = {outcome["id"]: outcome["reason"] for outcome in found["report"]["conflicts"]}
    assert set(conflicts) == {*BUILT_IN.values(), "acme-parser"}
    for plugin_id in BUILT_IN.values():
        assert "semantik-pipeline" in conflicts[plugin_id]
        assert "rotten-plugins 0.1" in conflicts[plugin_id]
    assert "acme-plugins 1.5" in conflicts["acme-parser"]
    assert (found["parser"], found["directory"], found["torch"]) == ("acme-plugins 1.5", True, False)
    assert "packaging>=9999" in found["said"]
    assert len(found["listed"]) == len(BAD)
    assert all(reason for _, _, reason in found["listed"])
    good = {outcome["id"] for outcome in found["report"]["loaded"] if outcome["origin"] == "acme-plugins 1.5"}
    assert len(good) == len(GOOD)


def test_loading_and_changing_leave_audit_lines_without_secrets(ask):
    found = ask(
        """
        logging.disable(logging.NOTSET)
        lines = []
        class Keep(logging.Handler):
            def emit(self, record):
                lines.append(json.loads(record.getMessage()))
        logging.getLogger("semantik.audit").addHandler(Keep())
        logging.getLogger("semantik.audit").setLevel(logging.INFO)
        administer.disable(state, "acme-store")
        administer.enable(state, "acme-store")
        administer.configure(state, "acme-reranker", {"api_key_env": "KEY"})
        try:
            administer.configure(state, "acme-reranker", {"api_key": "hush-hush"})
        except Exception:
            pass
        host = PluginHost.start(state)
        administer.check_health(host, "acme-reranker")
        print(json.dumps(lines))
        """,
        KEY="s3cret-value",
    )
    assert all({"event", "plugin", "outcome", "reason", "revision"} <= set(line) for line in found)
    seen = [(line["event"], line["plugin"], line["outcome"], line["revision"]) for line in found]
    for expected in [
        ("disable", "acme-store", "disabled", 1),
        ("enable", "acme-store", "enabled", 2),
        ("configure", "acme-reranker", "configured", 3),
        ("configure", "acme-reranker", "refused", None),
        ("load", "acme-reranker", "loaded", 3),
        ("load", "bad-import", "failed", 3),
        ("load", "directory", "conflict", 3),
        ("health", "acme-reranker", "healthy", 3),
    ]:
        assert expected in seen
    assert "hush-hush" not in str(found)
    assert "s3cret-value" not in str(found)


def test_a_broken_state_file_stops_the_process(ask):
    ask.state.write_text('{"version": 99}')
    found = ask(
        """
        try:
            PluginHost.start(state)
        except Exception as error:
            print(json.dumps([type(error).__name__, str(error)]))
        """
    )
    assert found[0] == "StateFileError"
    assert "version 99" in found[1]
    assert ask.marks() == set()
