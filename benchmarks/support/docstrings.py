"""Long documents with queries whose answers are known, of the docstrings of installed packages: a module is a document.

The first sentence of a function's docstring asks for the rest of it (``item``), the first sentence of a module's asks for
what its functions say (``topic``). What is asked is left out of the documents, so that it has to be found by other words.
"""

from __future__ import annotations

import ast
import importlib.util
import random
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PACKAGES = ("networkx", "scipy", "sklearn", "numpy", "pandas", "sympy")

#: Functions that a module must document to be a long document; words that a query must have.
FEWEST_FUNCTIONS, FEWEST_WORDS = 6, 5


@dataclass(kw_only=True)
class Library:
    """``files`` by name, as Markdown; ``queries`` and ``answers`` by query id (``item-3``, ``topic-12``)."""

    files: dict[str, str] = field(default_factory=dict)
    queries: dict[str, str] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in self.files.items():
            (folder / name).write_text(text, "utf-8")
        return folder

    def ask(self, kind: str, query: str, name: str) -> None:
        if len(query.split()) >= FEWEST_WORDS:
            id = f"{kind}-{len(self.queries) + 1}"
            self.queries[id], self.answers[id] = query, name


def library(*, modules: int = 40, items: int = 3, seed: int = 1) -> Library:
    """At most so many modules of each package that is installed, and of each so many items that are asked for."""
    found, chance = Library(), random.Random(seed)
    for package in PACKAGES:
        sources = list(_sources(package))
        chance.shuffle(sources)
        taken = 0
        for name, path in sources:
            if taken == modules:
                break
            taken += _add(found, name, path, items, chance)
    twice = {text for text in found.queries.values() if list(found.queries.values()).count(text) > 1}
    for id in [id for id, text in found.queries.items() if text in twice]:
        del found.queries[id], found.answers[id]
    return found


def _sources(package: str) -> Iterator[tuple[str, Path]]:
    spec = importlib.util.find_spec(package)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(place).rglob("*.py")):
            inside = path.relative_to(place)
            if not any(part.startswith(("test", "conftest", "_vendor")) for part in inside.parts):
                yield ".".join([package, *inside.with_suffix("").parts]), path


def _add(found: Library, name: str, path: Path, items: int, chance: random.Random) -> bool:
    """Add a module, if it is long enough."""
    try:
        tree = ast.parse(path.read_text("utf-8"))
    except (SyntaxError, ValueError):
        return False
    documented = [(one.name, *_split(ast.get_docstring(one))) for one in _defined(tree)]
    documented = [(one, first, rest) for one, first, rest in documented if len(rest.split()) >= 40]
    if len(documented) < FEWEST_FUNCTIONS:
        return False
    file = f"{name}.md"
    about, more = _split(ast.get_docstring(tree))
    sections = [f"## {one}\n\n{textwrap.dedent(rest)}" for one, _, rest in documented]
    found.files[file] = "\n\n".join([f"# {name}", more, *sections])
    found.ask("topic", about, file)
    for _, first, _ in chance.sample(documented, min(items, len(documented))):
        found.ask("item", first, file)
    return True


def _defined(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node
        if isinstance(node, ast.ClassDef):
            yield from (one for one in node.body if isinstance(one, ast.FunctionDef))


def _split(docstring: str | None) -> tuple[str, str]:
    """Its first sentence, and what follows."""
    paragraph, _, rest = (docstring or "").strip().partition("\n\n")
    lines = " ".join(line for line in paragraph.split("\n") if not re.fullmatch(r"[=\-~*\s]+", line))
    sentence, _, more = lines.partition(". ")
    return " ".join(sentence.split()).rstrip("."), f"{more}\n\n{rest}".strip()
