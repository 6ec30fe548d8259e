"""Global options: users may write them anywhere, and they are moved to the front, where Typer expects them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from semantik_pipeline.errors import UsageError

#: Maps each global option to whether it takes a value.
GLOBAL_OPTIONS = {
    "--data-dir": True,
    "--config": True,
    "--url": True,
    "--api-key-env": True,
    "--json": False,
    "--verbose": False,
}

#: The last line of every command's help.
EPILOG = "Global options: --data-dir DIR, --config FILE, --url URL, --api-key-env NAME, --json, --verbose."


def globals_first(argv: Sequence[str]) -> list[str]:
    """Return the same arguments with the global options first. Arguments after ``--`` are not changed.

    Raises UsageError for a global option without a value, or with another option where its value should be.
    """
    front: list[str] = []
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        name, equals, _ = word.partition("=")
        if word == "--":
            rest += [word, *words]
        elif name not in GLOBAL_OPTIONS or (equals and not GLOBAL_OPTIONS[name]):
            rest.append(word)
        elif equals or not GLOBAL_OPTIONS[name]:
            front.append(word)
        else:
            front += [word, _value(name, next(words, None))]
    return front + rest


def command_word(args: Sequence[str]) -> str | None:
    """Return the command: the first word that is neither an option nor an option's value.

    ``args`` must have the global options at the front.
    """
    words = iter(args)
    for word in words:
        if not word.startswith("-"):
            return word
        if GLOBAL_OPTIONS.get(word):
            next(words, None)
    return None


def _value(name: str, value: str | None) -> str:
    if value is None:
        raise UsageError(f"The option {name} needs a value.", "`semantik --help` lists the options.")
    if value.startswith("-"):  # the value was forgotten; otherwise a folder named --json would be created
        raise UsageError(
            f"The option {name} needs a value, and {value!r} looks like an option.",
            f"If the value starts with a hyphen, write {name}=./{value}.",
        )
    return value


def wants_json(argv: Sequence[str]) -> bool:
    """Return whether the caller asked for JSON. This is decided before parsing, so that usage errors are JSON too."""
    before = argv[: argv.index("--")] if "--" in argv else argv
    return "--json" in before


def given_path(text: str) -> Path:
    """Return the path as the user typed it.

    Raises UsageError for an empty path (`index "$UNSET"`), which would otherwise mean the current folder.
    """
    if not text.strip():
        raise UsageError("A path is empty.", "Give a file or a folder; the current folder is `.`.")
    return Path(text)
