"""The rules of docs/architecture.md that can be checked: layers, owners of libraries, sizes, no work at import."""

from __future__ import annotations

import ast
import gc
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]
PACKAGES = ("semantik_pipeline", "workers")

#: The modules that may import a library; no others may.
OWNERS: dict[str, tuple[str, ...]] = {
    "celery": ("semantik_pipeline.queue", "workers"),
    "kombu": ("semantik_pipeline.queue", "workers"),
    "sqlalchemy": ("semantik_pipeline.ledger",),
    "alembic": ("semantik_pipeline.ledger",),
    "fsspec": ("semantik_pipeline.blobs",),
    "qdrant_client": (
        "semantik_pipeline.builtin",
        "semantik_pipeline.testing.qdrant_double",
        "semantik_pipeline.testing.qdrant_grpc",
    ),
    "qdrant_edge": ("semantik_pipeline.builtin",),
    "torch": ("semantik_pipeline.builtin",),
    "transformers": ("semantik_pipeline.builtin",),
    "sentence_transformers": ("semantik_pipeline.builtin",),
    "spacy": ("semantik_pipeline.builtin",),
    "unstructured": ("semantik_pipeline.builtin",),
    "typer": ("semantik_pipeline.cli",),
    "rich": ("semantik_pipeline.cli",),
    "fastapi": ("semantik_pipeline.api",),
    "pydantic_settings": ("semantik_pipeline.settings",),
    "pytest": ("semantik_pipeline.testing",),
}

#: What plugins and the contract tests for their authors may import from this project, besides their own package.
FOR_PLUGINS = ("semantik_pipeline.contracts", "semantik_pipeline.documents", "semantik_pipeline.errors")

#: Modules that must not be loaded by importing any module of this project.
HEAVY = (
    "alembic",
    "celery",
    "kombu",
    "lingua",
    "pypdfium2",
    "qdrant_client",
    "qdrant_edge",
    "sentence_transformers",
    "spacy",
    "torch",
    "transformers",
    "unstructured",
    "yake",
)

MAX_FILE_LINES = 350
MAX_FUNCTION_LINES = 60


@dataclass(frozen=True)
class Import:
    """``module`` imports ``name`` (a dotted path) at ``line``."""

    module: str
    name: str
    line: int

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.name}"


def modules() -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        for path in sorted((REPO / package).rglob("*.py")):
            parts = path.relative_to(REPO).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def parsed(text: str) -> ast.Module:
    """Parse like ``ast.parse``, but without interference from other threads.

    CPython 3.11 keeps the depth of the tree under conversion in one place for all threads. If the garbage collector
    runs Python code in between, another thread may run, and if that thread also converts a tree (formatting a traceback
    does), this call raises SystemError.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(text)
    finally:
        if enabled:
            gc.enable()


def imports(module: str, tree: ast.AST) -> Iterator[Import]:
    """Yield every import except those for type checkers, including imports inside functions."""
    skipped = {id(node) for block in ast.walk(tree) if _for_types(block) for node in ast.walk(block)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (Import(module, alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: relative import"
            yield from (Import(module, f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def _for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def within(name: str, owners: tuple[str, ...]) -> bool:
    return any(name == owner or name.startswith(f"{owner}.") for owner in owners)


@pytest.fixture(scope="module")
def all_imports() -> list[Import]:
    return [one for name, path in modules() for one in imports(name, parsed(path.read_text("utf-8")))]


def test_the_walk_sees_every_module(all_imports: list[Import]) -> None:
    paths = [path for folder in PACKAGES for path in (REPO / folder).rglob("*.py")]
    written = re.compile(r"^(from|import) (?!__future__)\w", re.MULTILINE)
    dotted = [
        ".".join(path.relative_to(REPO).with_suffix("").parts) for path in paths if written.search(path.read_text())
    ]
    assert {name.removesuffix(".__init__") for name in dotted} <= {one.module for one in all_imports}


def test_imports_go_down_only() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([linter, "--no-cache"], cwd=REPO, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_module_has_a_layer() -> None:
    layers = (REPO / "pyproject.toml").read_text("utf-8").partition("layers = [")[2].partition("]")[0]
    known = {line.strip(' ",()') for line in layers.replace(":", "\n").replace("(", "").splitlines()}
    free = {"builtin", "testing", "__init__", "py"}  # checked by the tests below
    children = {path.stem for path in (REPO / "semantik_pipeline").iterdir() if not path.name.startswith("__")}
    strays = {name for name in children - free if f"semantik_pipeline.{name}" not in known}
    assert not strays, f"pyproject.toml's layers don't place {sorted(strays)}"


def test_the_layers_are_drawn_as_they_are_held() -> None:
    """Each layer of pyproject.toml is in the diagram of docs/architecture.md, in its place.

    One line of the diagram may show only some modules of a layer.
    """
    contracts = tomllib.loads((REPO / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    (held,) = [contract["layers"] for contract in contracts if contract["id"] == "layers"]
    places = {name: at for at, row in enumerate(held) for name in re.findall(r"[a-z_.]+", row)}
    layer = {name.rpartition(".")[2]: at for name, at in places.items() if name in dict(modules())}
    picture = (REPO / "docs" / "architecture.md").read_text("utf-8").partition("Imports go down only:\n\n```\n")[2]
    drawn = [name for line in picture.partition("```")[0].splitlines() for name in line.split("  ")[0].split(" · ")]
    assert sorted(drawn) == sorted(layer)
    assert [layer[name] for name in drawn] == sorted(layer.values())


def test_the_layers_of_the_ledger_are_drawn_as_they_are_held() -> None:
    """The diagram has the ledger's layers in order. The contract is exhaustive, so every package has a layer."""
    contracts = tomllib.loads((REPO / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    (held,) = [contract["layers"] for contract in contracts if contract["id"] == "ledger"]
    page = (REPO / "docs" / "architecture.md").read_text("utf-8")
    picture = page.partition("Inside `ledger/`")[2].partition("```\n")[2].partition("```")[0]
    assert [line.split()[0] for line in picture.splitlines()] == held


def test_libraries_stay_with_their_owners(all_imports: list[Import]) -> None:
    broken = [
        str(one)
        for one in all_imports
        for library, owners in OWNERS.items()
        if within(one.name, (library,)) and not within(one.module, owners)
    ]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("package", ["semantik_pipeline.builtin", "semantik_pipeline.testing"])
def test_plugins_import_contracts_documents_and_errors_only(all_imports: list[Import], package: str) -> None:
    broken = [
        str(one)
        for one in all_imports
        if within(one.module, (package,))
        and within(one.name, PACKAGES)
        and not within(one.name, (package, *FOR_PLUGINS))
    ]
    assert not broken, "\n".join(broken)


def test_nothing_imports_builtins_statically(all_imports: list[Import]) -> None:
    builtin = ("semantik_pipeline.builtin",)
    broken = [str(one) for one in all_imports if within(one.name, builtin) and not within(one.module, builtin)]
    assert not broken, "\n".join(broken)


def test_only_settings_and_plugins_read_the_environment() -> None:
    """The core reads the environment in ``settings`` and, to find a server, in ``server_discovery``.

    The plugin host resolves ``*_env`` options, and plugins may read it for their own libraries.
    """
    readers = []
    for name, path in modules():
        text = path.read_text("utf-8")
        if "os.environ" in text or "os.getenv" in text:
            readers.append(name)
    allowed = ("semantik_pipeline.settings", "semantik_pipeline.server_discovery", "semantik_pipeline.plugins")
    strays = [
        name
        for name in readers
        if not within(name, (*allowed, "semantik_pipeline.builtin", "semantik_pipeline.testing"))
    ]
    assert not strays, strays


IMPORT_ALL = """
import importlib, json, sys
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
print(json.dumps(sorted(set(sys.modules) & set(json.loads(sys.argv[2])))))
"""


def _loaded_by(names: list[str]) -> list[str]:
    run = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, json.dumps(names), json.dumps(HEAVY)],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_nothing_heavy_happens_at_import() -> None:
    # a child's main module, modules that need pytest, and modules that load what Celery itself imports
    apart = ("semantik_pipeline.plugins.child_loop", "semantik_pipeline.testing", "workers.app")
    names = [name for name, _ in modules() if not within(name, apart)]
    assert len(names) > 100
    assert _loaded_by(names) == []


def test_functions_and_files_stay_small() -> None:
    broken = []
    for name, path in modules():
        text = path.read_text("utf-8")
        if (lines := text.count("\n")) > MAX_FILE_LINES:
            broken.append(f"{name} has {lines} lines, more than {MAX_FILE_LINES}")
        for node in ast.walk(parsed(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_FUNCTION_LINES:
                    broken.append(
                        f"{name}:{node.lineno} {node.name} has {length} lines, more than {MAX_FUNCTION_LINES}"
                    )
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    "command", [["check", "--output-format=concise"], ["format", "--check"]], ids=["check", "format"]
)
def test_ruff_is_content(command: list[str]) -> None:
    ruff = Path(sys.executable).with_name("ruff")
    run = subprocess.run([ruff, *command, "--quiet", "."], cwd=REPO, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_package_says_that_it_is_typed() -> None:
    assert (REPO / "semantik_pipeline" / "py.typed").exists()


@pytest.mark.slow
def test_types_hold() -> None:
    """mypy passes. Results are cached in .mypy_cache, so unchanged files cost no time."""
    run = subprocess.run([sys.executable, "-m", "mypy"], cwd=REPO, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
