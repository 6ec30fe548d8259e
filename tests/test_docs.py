"""The documentation is complete, its examples run, its links resolve, and no tracked file names a machine's paths."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
import tomllib
import types
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import pytest

from semantik_pipeline import contracts, documents, errors
from semantik_pipeline import plugins as face
from semantik_pipeline.contracts import KINDS, SemanticPlugin
from semantik_pipeline.documents import content_hash
from semantik_pipeline.plugins import testing
from semantik_pipeline.plugins.host import PluginHost
from semantik_pipeline.plugins.loader import load_plugins
from semantik_pipeline.plugins.state import PluginState
from semantik_pipeline.settings import load_settings
from tests import forks

REPO = Path(__file__).parents[1]
PAGES = sorted([*REPO.glob("*.md"), *REPO.glob("docs/*.md")])
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def page(name: str) -> str:
    return (REPO / name).read_text("utf-8")


def section(text: str, title: str) -> str:
    """Return a page's section with the heading ``## title``."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"no section {title!r}"
    return found.group(1)


def blocks(text: str, language: str) -> list[str]:
    return [body for kind, body in FENCE.findall(text) if kind == language]


# -- completeness -----------------------------------------------------------------------------------------------------


def own_names(cls: type) -> list[str]:
    """Return the public methods and properties that a class itself defines, and its contract's class attributes."""
    wanted = [name for name, value in vars(cls).items() if callable(value) or isinstance(value, property | classmethod)]
    return [name for name in wanted if not name.startswith("_")]


@pytest.mark.parametrize("kind", KINDS)
def test_every_contract_method_is_documented(kind: str) -> None:
    text = section(page("docs/plugins.md"), kind)
    missing = [name for name in own_names(KINDS[kind][0]) if not re.search(rf"`{name}[(`]", text)]
    assert not missing


@pytest.mark.parametrize("kind", KINDS)
def test_every_required_method_and_no_other_is_called_required(kind: str) -> None:
    said = re.findall(r"^\*\*Required:\*\* (.*?)\n\n", section(page("docs/plugins.md"), kind), re.MULTILINE | re.DOTALL)
    assert len(said) == 1
    assert set(re.findall(r"`(\w+)`", said[0])) == {name for names in KINDS[kind][1] for name in names}


def test_the_table_of_kinds_names_each_with_its_base_class() -> None:
    text = section(page("docs/plugins.md"), "Pick your kind")
    rows = re.findall(r"^\| \[(\w+)\]\(#(\w+)\) \| `(\w+)` \|", text, re.MULTILINE)
    assert rows == [(kind, kind, KINDS[kind][0].__name__) for kind, _, _ in rows]
    assert {kind for kind, _, _ in rows} == set(KINDS)


def test_what_every_plugin_has_is_documented() -> None:
    text = section(page("docs/plugins.md"), "What every plugin has")
    attributes = [name for name in vars(SemanticPlugin) if name.isupper()]
    missing = [name for name in [*own_names(SemanticPlugin), *attributes] if not re.search(rf"`{name}[(`]", text)]
    assert not missing


def test_every_name_of_the_face_is_documented() -> None:
    text = page("docs/plugins.md") + page("docs/operations.md")
    bases = {base.__name__ for base, _ in KINDS.values()}  # a base is documented by its kind's section
    assert [name for name in face.__all__ if name not in bases | {"KINDS"} and f"`{name}" not in text] == []


def test_values_that_authors_build_show_their_fields_in_order() -> None:
    text = page("docs/plugins.md")
    shown = dict(re.findall(r"`([A-Z]\w+)\(([^`]*)\)`", text))
    checked = 0
    for name, fields in shown.items():
        cls = getattr(documents, name, None) or getattr(contracts, name, None)
        if cls is None or not hasattr(cls, "__dataclass_fields__"):
            continue
        wrote = [part.partition("=")[0].strip() for part in re.split(r",\s*(?![^(\[{]*[)\]}])", fields)]
        assert wrote == list(cls.__dataclass_fields__), name
        checked += 1
    assert checked >= 12


def test_every_error_is_documented() -> None:
    text = section(page("docs/operations.md"), "Errors")
    tree = [name for name, cls in vars(errors).items() if inspect.isclass(cls) and cls.__module__ == errors.__name__]
    assert len(tree) > 20
    assert [name for name in tree if f"| `{name}` |" not in text] == []
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == set(tree)


def test_every_contract_test_is_documented_and_every_one_named_is_there() -> None:
    text = section(page("docs/plugins.md"), "Testing")
    named = set(re.findall(r"`(\w*Contract|Fake\w+|MemoryStore)`", text))
    public = {name for name in dir(testing) if name.endswith("Contract") or name.startswith("Fake")}
    assert public <= named
    for name in named:
        assert inspect.isclass(getattr(testing, name)), name


def test_every_metric_is_documented_and_every_one_named_is_measured() -> None:
    from workers.metrics import NAMES

    rows = re.findall(r"^\| `(semantik_\w+)` \|", section(page("docs/monitoring.md"), "Metrics"), re.MULTILINE)
    assert sorted(rows) == sorted(NAMES)


def commands() -> Iterator[tuple[str, Any]]:
    import typer.main

    from semantik_pipeline.cli.app import app

    def walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
        yield name, command
        for sub, inner in getattr(command, "commands", {}).items():
            yield from walk(inner, f"{name} {sub}")

    return walk(typer.main.get_command(app), "semantik")


#: The section at the top of docs/cli.md with the options of every command. Click adds `--help` to each command itself.
GLOBAL = re.compile(r"## Global options\n(.*?)\n## ", re.DOTALL)

#: An entry of docs/cli.md: the command in its heading, and everything up to the next heading.
ENTRY = re.compile(r"^### `(semantik [a-z ]*[a-z])([^`]*)`\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)

#: The start of an item in a list of options: one or more code spans before a colon.
ITEM = re.compile(r"^- ((?:`[^`]+`,?\s+)*`[^`]+`): ", re.MULTILINE)


def options_of(command: Any) -> set[str]:
    """Return the long options of a command or group itself."""
    every = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return {option for option in every if option.startswith("--")}


def listed(text: str) -> list[str]:
    return re.findall(r"`(--[a-z-]+)", " ".join(ITEM.findall(text)))


def test_every_command_and_option_is_documented() -> None:
    """Each command has an entry with a sentence, an example that runs it, and a list of exactly its options."""
    text = page("docs/cli.md")
    tree = dict(commands())
    leaves = {name: command for name, command in tree.items() if not getattr(command, "commands", None)}
    entries = {name: (arguments, body) for name, arguments, body in ENTRY.findall(text)}
    assert len(entries) == len(ENTRY.findall(text)) == text.count("\n### `")
    assert set(entries) == set(leaves)
    for name, command in leaves.items():
        arguments, body = entries[name]
        assert sorted(listed(body)) == sorted(options_of(command)), name
        assert re.match(r"\n[A-Z][^\n]+", body), f"{name} has no sentence"
        assert any(f"$ {name}" in block for block in blocks(body, "console")), f"{name} has no example"
        named = [parameter.metavar for parameter in command.params if parameter.param_type_name == "argument"]
        assert re.findall(r"[A-Z][\w=-]+", arguments) == named, name
    [given] = GLOBAL.findall(text)
    assert sorted(listed(given)) == sorted(options_of(tree["semantik"]))
    assert not [name for name, command in tree.items() if name not in {*leaves, "semantik"} and command.params]
    known = {option for command in tree.values() for option in options_of(command)} | {"--help"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)) <= known


def typed(text: str) -> Iterator[list[str]]:
    """Yield the words after ``semantik`` of each command in a page's console blocks, up to ``--`` or an operator."""
    for body in blocks(text, "console"):
        for line in body.replace("\\\n", " ").splitlines():
            found = re.match(r"\$ (?:docker compose run --rm cli|(?:[A-Z_]+=\S+ )*semantik) (.*)", line)
            if found:
                words = shlex.split(found.group(1), comments=True)
                ends = [at for at, word in enumerate(words) if word in ("--", "|", ">", "&&", "||", ";", "&")]
                yield words[: min(ends, default=len(words))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_command_that_a_page_types_exists(path: Path) -> None:
    from semantik_pipeline.cli.arguments import GLOBAL_OPTIONS, globals_first

    tree = dict(commands())
    for words in typed(path.read_text("utf-8")):
        rest = globals_first(words)
        while rest and rest[0].partition("=")[0] in GLOBAL_OPTIONS:
            takes = GLOBAL_OPTIONS[rest[0].partition("=")[0]] and "=" not in rest[0]
            rest = rest[2:] if takes else rest[1:]
        name = "semantik"
        while rest and f"{name} {rest[0]}" in tree:
            name = f"{name} {rest.pop(0)}"
        command = tree[name]
        assert not getattr(command, "commands", None) or rest in (["--help"], ["--version"]), words
        given = {word.partition("=")[0] for word in rest if word.startswith("--")}
        assert given <= options_of(command) | options_of(tree["semantik"]) | {"--help"}, words


def test_every_builtin_is_listed() -> None:
    text = section(page("docs/plugins.md"), "The built-ins")
    listed = re.findall(r"^\| (\w+) \| `([\w-]+)` \|", text, re.MULTILINE)
    points = tomllib.loads(page("pyproject.toml"))["project"]["entry-points"]["semantik.plugins"]
    assert {f"{kind}-{name}" for kind, name in listed} == set(points)


def test_extras_and_files_that_the_readme_names_are_there() -> None:
    extras = set(tomllib.loads(page("pyproject.toml"))["project"]["optional-dependencies"])
    text = page("README.md")
    assert [extra for extra in extras if f"`{extra}`" not in text] == []


# -- examples run ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_data_examples_are_well_formed(path: Path) -> None:
    for body in blocks(path.read_text("utf-8"), "json"):
        json.loads(body)
    for body in blocks(path.read_text("utf-8"), "toml"):
        tomllib.loads(body)
    for body in blocks(path.read_text("utf-8"), "python"):
        compile(body, path.name, "exec")


def test_the_collection_that_the_page_shows_is_the_default(tmp_path: Path) -> None:
    from semantik_pipeline.generations import DEFAULT

    shown = blocks(section(page("docs/collections.md"), "What a collection is made of"), "toml")[0]
    settings = tmp_path / "semantik.toml"
    settings.write_text(shown, "utf-8")
    given = load_settings(settings).collection
    assert given
    for name, value in given.items():
        wanted = json.loads(json.dumps(DEFAULT[name]))
        for choice in [*wanted.get("chunk", []), *wanted.get("document", [])] if name == "extraction" else []:
            choice.pop("types")
        assert value == wanted, name


def test_the_filters_of_the_page_are_filters() -> None:
    from semantik_pipeline.contracts.filters import parse_filter

    shown = blocks(section(page("docs/search.md"), "Filters"), "json")
    assert len(shown) >= 5
    for body in shown:
        assert parse_filter(json.loads(body)) is not None
    inline = re.findall(r"`(\{.*?\})`", section(page("docs/search.md"), "Filters"))
    assert len(inline) >= 20
    for condition in inline:
        assert parse_filter({"must": [json.loads(condition)]}) is not None


def test_every_field_of_a_point_is_documented() -> None:
    from semantik_pipeline.generations import PAYLOAD_INDEXES
    from semantik_pipeline.stages import points

    built = set(re.findall(r'^        "(\w+)": ', inspect.getsource(points.build_payload), re.MULTILINE))
    found = set(documents.ExtractionResult.__dataclass_fields__) - {"language_confidence"} | {"entity_types"}
    assert {"document_id", "metadata"} <= built
    named = set(re.findall(r"`(\w+)`", section(page("docs/search.md"), "Filters")))
    assert built | found | {key.partition(".")[0] for key in PAYLOAD_INDEXES} <= named


def test_the_flat_schema_of_the_page_is_a_schema() -> None:
    from semantik_pipeline.contracts.config_schema import normalise_schema

    source = blocks(section(page("docs/plugins.md"), "Configuration and secrets"), "python")[0]
    body: dict[str, Any] = {}
    exec("class Plugin:\n" + "\n".join(f"    {line}" for line in source.splitlines()), body)
    schema = normalise_schema(body["Plugin"].get_config_schema())
    assert schema is not None
    assert schema["required"] == ["endpoint"]
    assert schema["properties"]["style"]["default"] == "short"


@pytest.fixture(scope="module")
def readme_plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The README's plugin, written to files and installed by pip into a separate folder."""
    folder, target = tmp_path_factory.mktemp("tickets"), tmp_path_factory.mktemp("target")
    text = section(page("README.md"), "A plugin in 30 lines")
    for body in [*blocks(text, "toml"), *blocks(text, "python")]:
        name = body.splitlines()[0].removeprefix("# ")
        (folder / name).write_text(body, "utf-8")
    assert {path.name for path in folder.iterdir()} == {"pyproject.toml", "tickets.py", "tickets.toml"}
    install = [sys.executable, "-m", "pip", "install", "-qq", "--no-deps", "--no-build-isolation", "--target", target]
    run = subprocess.run([*install, folder], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    (target / "tickets.toml").write_bytes((folder / "tickets.toml").read_bytes())
    return target


def semantik(plugin: Path, *arguments: str | Path) -> dict[str, Any]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("SEMANTIK_")}
    done = forks.semantik(["--json", *arguments], {**variables, "PYTHONPATH": str(plugin)})
    assert done.code == 0, done.out + done.err
    return done.json()


def test_the_readmes_plugin_is_thirty_lines_and_does_what_the_readme_says(readme_plugin: Path, tmp_path: Path) -> None:
    text = section(page("README.md"), "A plugin in 30 lines")
    code = [*blocks(text, "python"), blocks(text, "toml")[0]]
    assert sum(len([line for line in body.splitlines() if line.strip()]) for body in code) <= 30
    notes, data = tmp_path / "notes", tmp_path / "data"
    notes.mkdir()
    (notes / "monday.txt").write_text("OPS-17: the mail server broke, and nobody could log in.\n", "utf-8")
    (notes / "friday.txt").write_text("DEV-4: the coffee machine broke, and nobody could work.\n", "utf-8")
    common = ("--data-dir", data)
    shown = semantik(readme_plugin, *common, "plugins", "show", "tickets")
    assert (shown["type"], shown["version"], shown["status"]) == ("extractor", "1.0.0", "loaded")
    configured = (*common, "--config", readme_plugin / "tickets.toml")
    assert semantik(readme_plugin, *configured, "index", notes, "--collection", "notes")["outcome"] == "succeeded"
    wanted = re.search(r"--filter '(.*)'", text)
    assert wanted
    asked = (*common, "search", "--collection", "notes", "what broke")
    assert len(semantik(readme_plugin, *asked)["hits"]) == 2
    hits = semantik(readme_plugin, *asked, "--filter", wanted.group(1))["hits"]
    assert [Path(hit["document"]).name for hit in hits] == ["monday.txt"]


def test_the_contract_test_of_the_page_passes(readme_plugin: Path, tmp_path: Path) -> None:
    body = blocks(section(page("docs/plugins.md"), "Testing"), "python")[0]
    (tmp_path / "test_tickets.py").write_text(body, "utf-8")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(readme_plugin)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout


# -- every plugin of the page works -----------------------------------------------------------------------------------

#: The first line of a class that defines a plugin in a block of docs/plugins.md.
PLUGIN_CLASS = re.compile(r"^class (\w+)\((\w+Plugin)\):", re.MULTILINE)


@cache
def samples() -> dict[str, type[SemanticPlugin]]:
    """Return the plugins that docs/plugins.md defines, by id; each block is a module, named by its first line."""
    found = {}
    for body in blocks(page("docs/plugins.md"), "python"):
        for name, _ in PLUGIN_CLASS.findall(body):
            file = re.match(r"# (\w+)\.py\n", body)
            assert file, f"the block of {name} does not name its file"
            module = sys.modules[f"docs_{file.group(1)}"] = types.ModuleType(f"docs_{file.group(1)}")
            exec(compile(body, module.__name__, "exec"), vars(module))
            found[vars(module)[name].PLUGIN_ID] = vars(module)[name]
    return found


def entry_points() -> list[EntryPoint]:
    return [
        EntryPoint(plugin_id, f"{cls.__module__}:{cls.__name__}", "semantik.plugins")
        for plugin_id, cls in samples().items()
    ]


class OfThePage:
    """Base of the contract tests of a plugin in docs/plugins.md, given by its id."""

    sample: ClassVar[str]
    options: ClassVar[dict[str, Any]] = {}

    def make_plugin(self) -> Any:
        return samples()[self.sample](self.options)


class OfNotes(OfThePage):
    """The same for a connector that reads a table of two notes."""

    @pytest.fixture(autouse=True)
    def notes(self, tmp_path: Path) -> Iterator[None]:
        self.file = tmp_path / "notes.sqlite"
        with closing(sqlite3.connect(self.file)) as database, database:
            database.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, title, body, changed)")
            database.execute("INSERT INTO notes VALUES (1, 'Monday', 'It broke.', 7), (2, 'Friday', 'It works.', 8)")
        yield

    def make_plugin(self) -> Any:
        return samples()[self.sample]({"path": str(self.file)})


class TestFirstPlugin(OfThePage, testing.ExtractorContract):
    sample = "tickets"


class TestConnectorSample(OfNotes, testing.ConnectorContract):
    sample = "notes-db"


class TestIncrementalConnectorSample(OfNotes, testing.IncrementalConnectorContract):
    sample = "notes-sync"


class TestParserSample(OfThePage, testing.ParserContract):
    sample = "vcard"
    card = b"BEGIN:VCARD\nFN:Ada Lovelace\nNOTE:wrote programs\nEND:VCARD\n"
    samples = (testing.Sample(content=card, phrase="Lovelace", file_path="ada.vcf"),)


class TestChunkingSample(OfThePage, testing.ChunkingContract):
    sample = "paragraphs"


class TestExtractorSample(OfThePage, testing.ExtractorContract):
    sample = "glossary"
    options: ClassVar[dict[str, Any]] = {"terms": ["engine", "maschine"]}

    def test_it_finds_terms(self) -> None:
        assert self.results(["An Engine."])[0].keywords == ["engine"]


class TestEmbeddingSample(OfThePage, testing.EmbeddingContract):
    sample = "hashed-words"


class TestRerankerSample(OfThePage, testing.RerankerContract):
    sample = "overlap"


class TestPostprocessorSample(OfThePage, testing.PostprocessorContract):
    sample = "prefer"


class TestVectorDBSample(OfThePage, testing.VectorDBContract):
    sample = "my-store"

    def make_store(self, tmp_path: Path) -> Any:
        return self.make_plugin()


class TestAuthSample(OfThePage, testing.AuthContract):
    sample = "proxy-auth"
    options: ClassVar[dict[str, Any]] = {"proxy_secret": "open sesame"}
    known = face.AuthRequest("GET", "/api/v2/status", {"X-Proxy-Secret": "open sesame", "X-Forwarded-User": "anna"})


def subclasses(cls: type) -> Iterator[type]:
    for sub in cls.__subclasses__():
        yield sub
        yield from subclasses(sub)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_sample(kind: str) -> None:
    bodies = blocks(section(page("docs/plugins.md"), kind), "python")
    assert {base for body in bodies for _, base in PLUGIN_CLASS.findall(body)} == {KINDS[kind][0].__name__}


def test_every_sample_loads_and_is_tested_by_its_contract() -> None:
    _, report = load_plugins(PluginState(), entry_points=entry_points())
    assert {one.id for one in report.loaded} == set(samples()), report
    assert {vars(cls)["sample"] for cls in subclasses(OfThePage) if "sample" in vars(cls)} == set(samples())


def test_the_secret_of_the_auth_sample_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXY_SECRET", "open sesame")
    state = PluginState(configs={"proxy-auth": {"proxy_secret_env": "PROXY_SECRET"}})
    with closing(PluginHost(*load_plugins(state, entry_points=entry_points()), state)) as host:
        found = host.call(host.instance("proxy-auth", kind="auth").authenticate, TestAuthSample.known)
    assert found == face.Principal("anna", principals=["anna"])


# -- links and forbidden contents -------------------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", re.sub(FENCE, "", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_relative_links_resolve(path: Path) -> None:
    for link in LINK.findall(re.sub(FENCE, "", path.read_text("utf-8"))):
        if link.startswith(("https://", "http://")):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), f"{path.name} links to {link}"
        if anchor:
            assert anchor in anchors(target.read_text("utf-8")), f"{path.name} links to {link}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_lines_of_prose_have_at_most_120_characters(path: Path) -> None:
    """Code blocks, tables and lines that are one word, such as a URL, may be longer. Ruff checks the code's lines."""
    prose = re.sub(
        r"^```.*?^```$", lambda block: "\n" * block[0].count("\n"), path.read_text("utf-8"), flags=re.M | re.S
    )
    long = [
        f"{path.name}:{number}"
        for number, line in enumerate(prose.splitlines(), 1)
        if len(line) > 120 and not line.startswith("|") and " " in line.strip()
    ]
    assert not long, long


def test_no_tracked_file_names_a_registry_or_a_place_of_a_machine() -> None:
    """Registries and machine paths differ between machines. The strings are split: this file is also checked."""
    told = ["pypi" + ".org", "python" + "hosted", "npmjs" + ".com", "/work" + "/main"]
    told += ["/work" + "/shared", "/opt" + "/wheels", "/opt" + "/pypi", "extra-" + "index-url"]
    told.append(str(REPO.parent / REPO.name))
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=REPO, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("this is no git checkout")
    found = []
    for name in filter(None, tracked.stdout.split("\0")):
        path = REPO / name
        if path.is_file():
            text = path.read_text("utf-8", "replace")
            found += [f"{name}: {word}" for word in told if word in text]
    assert not found, "\n".join(found)


def test_content_hash_is_what_the_page_calls_it() -> None:
    assert content_hash("abc") == content_hash(b"abc")
