"""`make demo` runs in a separate process, on a copy of the project that is small enough to be indexed in seconds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from pydoc_data.topics import topics

import pytest

REPO = Path(__file__).parents[2]

#: The documents that answer the demo's questions, in order.
ANSWERS = ("README.md", ".demo/python-topics/function.txt", ".demo/python-topics/operator-summary.txt")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with the demo, a few of the project's documents, and four of Python's help topics."""
    (tmp_path / "docs" / "pydoc_data").mkdir(parents=True)
    for name in ("README.md", "CHANGELOG.md", "docs/kubernetes.md", "docs/demo.py"):
        shutil.copyfile(REPO / name, tmp_path / name)
    (tmp_path / "docs" / "pydoc_data" / "__init__.py").touch()
    few = {name: topics[name] for name in ("function", "operator-summary", "lambda", "while")}
    (tmp_path / "docs" / "pydoc_data" / "topics.py").write_text(f"topics = {few!r}", "utf-8")
    return tmp_path


def demo(copy: Path) -> subprocess.CompletedProcess[str]:
    """Run the demo without access to any network; return its output and exit code."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SEMANTIK_")}
    nowhere = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
    command = [sys.executable, "-B", str(copy / "docs" / "demo.py")]  # no bytecode files among its documents
    return subprocess.run(
        command, cwd="/", env=environment | nowhere, text=True, capture_output=True, timeout=240, check=False
    )


@pytest.mark.slow
@pytest.mark.usefixtures("packaged_model")
def test_the_demo_indexes_documents_and_answers_its_questions(copy: Path) -> None:
    done = demo(copy)
    assert done.returncode == 0, done.stderr
    indexed, *answers = done.stdout.split("\n$ semantik --data-dir .demo/data ")[1:]
    assert indexed.startswith("index ") and "7 documents: 7 new" in indexed
    assert len(answers) == len(ANSWERS)
    for answer, document in zip(answers, ANSWERS, strict=True):
        assert re.search(rf"^ 1\. {re.escape(document)} ", answer, re.MULTILINE), answer
        assert "3 hits, reranked" in answer
    assert "What to type next:" in answers[-1]


def test_the_demo_ends_with_the_exit_code_of_a_command_that_fails(copy: Path) -> None:
    (copy / "README.md").unlink()
    done = demo(copy)
    assert (done.returncode, "search" in done.stdout) == (2, False), done.stdout
    assert "README.md does not exist" in done.stderr
