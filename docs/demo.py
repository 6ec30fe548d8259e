"""`make demo`: index documents that every machine has, with the very commands that you would type, and ask them.

The documents are this project's own and Python's bundled reference topics (what `help("CLASSES")` prints). Everything
lies in .demo/; a second run finds nothing changed and goes straight to the questions.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).parents[1]
DATA = Path(".demo/data")
TOPICS = Path(".demo/python-topics")

QUESTIONS = (
    "what happens to a document that crashes its parser",
    "when is the default value of a parameter evaluated",
    "how are operators ordered by precedence",
)

NEXT = f"""
What to type next:
    source .venv/bin/activate
    semantik --data-dir {DATA} search "a question of yours"
    semantik --data-dir {DATA} status
    semantik index ~/papers
Your own plugin in 30 lines: README.md. How all this works: docs/architecture.md.
"""


def write_topics(folder: Path) -> None:
    """Write each reference topic as a text file. One that is there and the same keeps its time, so it is unchanged."""
    try:
        from pydoc_data.topics import topics
    except ImportError:  # some minimal builds of Python leave it out: the project's own documents will do
        topics = {}
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in topics.items():
        path = folder / f"{name}.txt"
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


def semantik(*arguments: str) -> None:
    """Show a command and run it; end with its exit code if it fails."""
    command = ["semantik", "--data-dir", str(DATA), *arguments]
    print(f"\n$ {shlex.join(command)}", flush=True)
    code = subprocess.run([Path(sys.executable).with_name("semantik"), *command[1:]], check=False).returncode
    if code:
        sys.exit(code)


def main() -> None:
    os.chdir(REPO)
    write_topics(TOPICS)
    semantik("index", "README.md", "CHANGELOG.md", "docs", str(TOPICS), "--exclude", "*.py")
    for question in QUESTIONS:
        semantik("search", "--limit", "3", "--postprocessor", "dedupe,highlight", question)  # topics quote each other
    print(NEXT)


if __name__ == "__main__":
    main()
