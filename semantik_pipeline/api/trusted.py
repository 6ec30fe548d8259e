"""Checks configurations that arrive over HTTP: which options only an administrator may set, and which ones nobody may
set.

Options can name files on the server, environment variables of the server, and hosts that the server then contacts. A
caller that may choose them freely could make the server read anything that it can read, and send it anywhere.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from semantik_pipeline.access import LOCAL_KEY
from semantik_pipeline.contracts.auth import Principal
from semantik_pipeline.errors import Forbidden
from semantik_pipeline.plugins.secrets import is_env_reference, last_word

if TYPE_CHECKING:
    from fastapi import Request

    from semantik_pipeline.settings import Settings

#: Names of this pipeline's own environment variables, which hold keys and the ledger's password. Settings are read in
#: any case.
OURS = re.compile(r"\s*SEMANTIK_", re.IGNORECASE)

#: Options that are paths, whatever their values look like, by connector.
PATHS = {"directory": ("path",), "jsonl": ("path",), "git": ("url", "cache_dir")}

#: If the last word of an option's name is one of these, its value is a path, even if it looks like a name.
PATH_WORDS = frozenset({"path", "paths", "file", "files", "folder", "folders", "dir", "dirs", "directory"})
#: Values that are paths, whatever the option's name: they start with / or ~ and contain a word, or with a dot that is
#: a folder, or have a folder `..` in them. `acme/model` is a name.
_PATH = re.compile(r"[/~].*\w|(?:.*/)?\.\.?/|.*/\.\.$", re.DOTALL)

#: The option that allows a model to run its own code.
RUNS_CODE = "trust_remote_code"


def is_owner(request: Request, caller: Principal) -> bool:
    """Whether the caller could also use the commands: it is on this machine and has the key in the data folder, so it
    can read that folder's files. Commands may use any path, so their requests to a server may do so, too."""
    address = request.client.host if request.client else ""
    return caller.name == f"key:{LOCAL_KEY}" and is_loopback(address)


def is_loopback(address: str) -> bool:
    """Whether this is a loopback address. False if it is not an address."""
    try:
        return ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


def check(
    settings: Settings, config: Mapping[str, Any], connector: str | None = None, *, anywhere: bool = False
) -> None:
    """Raise Forbidden for options that nobody may set over HTTP.

    These are the pipeline's own environment variables. For a connector, unless ``anywhere``, they are also paths to a
    place where the pipeline keeps its own files, inside such a place, or to a folder that contains one.
    """
    for _, value in _leaves(config):
        if isinstance(value, str) and OURS.match(value):
            raise Forbidden(
                "Options cannot use environment variables that start with SEMANTIK_: they are this server's own.",
                "Set a variable with another name in the server's environment.",
            )
    if connector is not None and not anywhere:
        _check_places(settings, config, connector)


def check_collection(settings: Settings, caller: Principal, changes: Mapping[str, Any]) -> None:
    """:func:`check` for a collection's configuration, or for changes to it by dotted names. Options that name an
    environment variable, a URL or a path of the server, or allow a model to run its own code, require the role admin in
    the whole installation."""
    check(settings, changes)
    if caller.may("admin"):
        return
    for name, value in _leaves(changes):
        reach = _reach(name.rpartition(".")[2], value)
        if reach is not None:
            raise Forbidden(
                f"The option {name} {reach}. To set it, a caller needs the role admin in the whole installation.",
                "Ask an administrator to set it.",
            )


def _reach(name: str, value: Any) -> str | None:
    """How the option makes the server read its own files or environment, contact a host, or run code; None if it does
    not. Decided without the plugin's schema: authors of plugins need not declare anything, and nothing is looked up on
    the disk, so that the answer does not tell which files exist."""
    if name == RUNS_CODE:
        return "runs a model's own code"
    if is_env_reference(name):
        return "names an environment variable"
    if not isinstance(value, str):
        return None
    if name.endswith("url") or "://" in value:
        return "is a URL"
    return "is a path" if last_word(name) in PATH_WORDS or _PATH.match(value) else None


def _leaves(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield each value that is neither an object nor a list, with its name."""
    stack: list[tuple[str, Any]] = list(config.items())
    while stack:
        name, value = stack.pop()
        if isinstance(value, Mapping):
            stack += value.items()
        elif isinstance(value, list):
            stack += [(name, inner) for inner in value]
        else:
            yield name, value


def _check_places(settings: Settings, config: Mapping[str, Any], connector: str) -> None:
    for name, value in _leaves(config):
        if not isinstance(value, str):
            continue
        named = name in PATHS.get(connector, ())
        for place in _places_of(value, named=named):
            for ours in _own(settings):
                if place == ours or ours in place.parents or (named and place in ours.parents):
                    raise Forbidden(
                        f"{name} refers to a place where this server keeps its own files.",
                        "Index another folder. The server's administrator can add this one with a command on its host.",
                    )


def _own(settings: Settings) -> list[Path]:
    """The places where the pipeline keeps its files, with symbolic links resolved."""
    own = [settings.data_dir, settings.index_dir, settings.models_dir, settings.state_file]
    for url in (settings.blob_url, settings.database_url):
        scheme, colon, rest = url.partition("://")
        if not colon:
            own.append(Path(url))
        elif scheme in ("file", "local"):
            own.append(Path(rest))
        elif scheme.startswith("sqlite"):
            own.append(Path(rest.removeprefix("/").partition("?")[0]))
    return [Path(os.path.realpath(path.expanduser())) for path in own]


def _places_of(text: str, *, named: bool) -> list[Path]:
    """The paths that a text may mean, with symbolic links resolved. If the option is not a path by its name
    (``named``), only texts that look like one count. A pattern means the folder in which it starts, and everything that
    it matches now."""
    texts = {text}
    address = urlsplit(text) if ":" in text else None
    if address is not None and address.scheme == "file":
        for path in (address.path, address.netloc + address.path, text[5:].lstrip("/")):
            texts |= {path, unquote(path), f"/{path}", f"/{unquote(path)}"}
        named = True
    found = set()
    for one in texts:
        if not named and not one.startswith(("/", "~")):
            continue
        found.add(one)
        beginning = re.split(r"[*?\[]", one, maxsplit=1)[0]
        if beginning != one:
            found.add(beginning.rpartition("/")[0] or ("/" if one.startswith("/") else "."))
            found |= _matches(one)
    return [Path(os.path.realpath(os.path.expanduser(one))) for one in found if "\0" not in one]  # noqa: PTH111


def _matches(pattern: str) -> set[str]:
    from glob import iglob
    from itertools import islice

    return set(islice(iglob(os.path.expanduser(pattern)), 10_000))  # noqa: PTH111, PTH207
