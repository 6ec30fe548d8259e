"""What of a configuration that comes by HTTP is for an administrator, and what for nobody.

Options may name files of the server, variables of its environment, and hosts that it then calls. Whoever chooses them can
have it read what it may read, and send it where they like.
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
from semantik_pipeline.plugins.secrets import is_env_reference

if TYPE_CHECKING:
    from fastapi import Request

    from semantik_pipeline.settings import Settings

#: Variables of ours hold the ledger's password, and keys. Settings are read whatever their case.
OURS = re.compile(r"\s*SEMANTIK_", re.IGNORECASE)

#: Options that are paths, whatever they look like.
PATHS = {"directory": ("path",), "jsonl": ("path",), "git": ("url", "cache_dir")}

#: The option that lets a model's own code in.
RUNS_CODE = "trust_remote_code"


def is_owner(request: Request, caller: Principal) -> bool:
    """Whether the caller may as well use the commands: it is on this machine, and shows the key that lies in the data
    folder, whose files it can read. Commands have no rule for places, so there is none for what they ask a server."""
    address = request.client.host if request.client else ""
    return caller.name == f"key:{LOCAL_KEY}" and is_loopback(address)


def is_loopback(address: str) -> bool:
    """Whether the address is this host's own, reached from itself alone; what is no address is not."""
    try:
        return ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


def check(
    settings: Settings, config: Mapping[str, Any], connector: str | None = None, *, anywhere: bool = False
) -> None:
    """Raise Forbidden for options that nobody gives by HTTP: a variable of ours, and, of a connector, unless it may be
    ``anywhere``, a place where the pipeline keeps its own files, one inside it, or one that holds it."""
    for _, value in _leaves(config):
        if isinstance(value, str) and OURS.match(value):
            raise Forbidden(
                "Options can't name variables that begin with SEMANTIK_: they are this server's own.",
                "Set another variable where the server is started.",
            )
    if connector is not None and not anywhere:
        _check_places(settings, config, connector)


def check_collection(settings: Settings, caller: Principal, changes: Mapping[str, Any]) -> None:
    """:func:`check`, of a collection's configuration, or of changes to it by dotted names. What names a variable or a
    URL, or lets a model's own code in, takes the role admin in the whole installation."""
    check(settings, changes)
    for name, value in _leaves(changes):
        last = name.rpartition(".")[2]
        if (
            last == RUNS_CODE
            or is_env_reference(last)
            or last.endswith("url")
            or (isinstance(value, str) and "://" in value)
        ):
            caller.require("admin")


def _leaves(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each value that is no object or list, with the name that it stands under."""
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
                        f"{name} leads to where this server keeps its own files.",
                        "Index another folder; the server's own administrator can add this one on its command line.",
                    )


def _own(settings: Settings) -> list[Path]:
    """Where the pipeline keeps its files, links followed."""
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
    """The paths that a text may mean, links followed: of an option that is no path by its name, only what looks like one.
    A pattern means the folder that it begins in, and all that it finds now."""
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
