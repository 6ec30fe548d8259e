"""A collection's configuration as users change it: dotted names, and validation.

``chunking.max_tokens`` means ``chunking.options.max_tokens``: inside a step, a name other than ``plugin`` or
``options`` is an option of the step's plugin.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

from semantik_pipeline.errors import UsageError
from semantik_pipeline.settings import Fusion

if TYPE_CHECKING:
    from semantik_pipeline.plugins.host import PluginHost

Config = dict[str, Any]

#: The parts of a configuration and the fields of each. The first two are steps, each done by one plugin.
STEPS = {"chunking": ("plugin", "options"), "embedding": ("plugin", "options", "model")}
PARTS: dict[str, tuple[str, ...]] = {
    **STEPS,
    "parsers": ("by_media_type", "options"),
    "extraction": ("enabled", "chunk", "document"),
    "sparse": (
        *("k1", "b", "avg_len", "language", "by_document", "fold_accents"),
        *("title_weight", "heading_weight", "model", "plugin"),
    ),
    "default_reranker": ("plugin", "options"),
    "search": ("dense_weight", "fusion", "rerank_weight", "rerankers", "postprocessors"),
}

#: Parts that affect only searches and nothing stored in an index: changes apply immediately.
AT_ONCE = ("default_reranker", "search")

#: The plugin for ``sparse.model`` if the configuration names no other one.
SPARSE_ENCODER = "learned-sparse"

#: Maximum length of a search's chain of each kind. All rerankers share one deadline, which is too short for more.
LONGEST_CHAIN = {"rerankers": 4, "postprocessors": 8}

#: Maximum number of times that a title or heading may count among the words of each chunk.
MOST_WEIGHT = 20

LONGEST_NAME = 200

#: The fields of an extractor's entry in ``extraction.chunk`` and ``extraction.document``.
CHOICE = ("plugin", "types", "options")


def parse_changes(pairs: Sequence[str]) -> dict[str, Any]:
    """Parse ``KEY=VALUE`` pairs into changes for :func:`changed`.

    A value is read as JSON if it is valid JSON, else as text; ``null`` unsets. Raises UsageError if a pair has no
    ``=`` or no key.
    """
    changes = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not key or not equals:
            raise UsageError(
                f"{pair!r} is not KEY=VALUE.", "Write chunking.max_tokens=150, model=NAME, or default_reranker=null."
            )
        changes[key] = parse_value(text)
    return changes


def parse_value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def changed(config: Config, changes: Mapping[str, Any]) -> Config:
    """Return a copy of the configuration with changes by dotted names. ``None`` unsets a value: its default applies.

    The result must still be completed and validated against the plugins. A part may be given as a whole:
    ``chunking=markdown`` names its plugin, ``embedding=NAME`` a model. The plugin for that model is then looked up, as
    it is if only ``embedding.model`` is given. Changing a step's plugin drops the previous plugin's options.
    ``parsers.PLUGIN.OPTION`` and ``extraction.chunk.PLUGIN.OPTION`` address options of parsers and extractors. Raises
    UsageError for an unknown name.
    """
    result = copy.deepcopy(config)
    ordered = sorted(changes, key=lambda key: (key.count("."), not key.endswith(".plugin"), key))  # whole parts first
    for key in ordered:
        part, _, rest = key.partition(".")
        if part not in PARTS:
            raise _unknown(key)
        if rest:
            _change_inside(result, part, rest, copy.deepcopy(changes[key]))
        else:
            _change_whole(result, part, copy.deepcopy(changes[key]))
    if "embedding.model" in changes and "embedding.plugin" not in changes and changes["embedding.model"] is not None:
        result["embedding"].pop("plugin", None)
    check(result)
    return result


def _change_whole(config: Config, part: str, value: Any) -> None:
    if value is None:
        config.pop(part, None)
    elif isinstance(value, str) and part in STEPS:
        config[part] = {"model" if part == "embedding" else "plugin": value}
    elif isinstance(value, bool) and part == "extraction":
        config[part] = {**_inside(config, part), "enabled": value}
    else:
        config[part] = value


def _change_inside(config: Config, part: str, rest: str, value: Any) -> None:
    inside = _inside(config, part)
    config[part] = inside
    name, _, below = rest.partition(".")
    if part == "extraction" and name in ("chunk", "document"):
        inside[name] = _choices(inside.get(name), value) if not below else _chosen(inside.get(name), below, value)
    elif part in (*STEPS, "default_reranker"):
        _change_step(inside, part, name, below, value)
    elif part == "parsers" and name != "by_media_type":
        plugin, _, option = (below if name == "options" else rest).partition(".")
        _set(inside, ("options", plugin, option) if option else ("options", plugin) if plugin else ("options",), value)
    elif below and part != "parsers":
        raise _unknown(f"{part}.{rest}")
    else:  # no split at dots: a media type may contain dots
        _set(inside, (name, below) if below else (name,), value)


def _change_step(inside: Config, part: str, name: str, below: str, value: Any) -> None:
    if name == "plugin" and not below:
        if value != inside.get("plugin"):
            inside.clear()
        _set(inside, ("plugin",), value)
    elif name == "options":
        _set(inside, ("options", below) if below else ("options",), value)
    elif (part, name, below) == ("embedding", "model", ""):
        inside["options"] = {key: kept for key, kept in (inside.get("options") or {}).items() if key != "model"}
        _set(inside, ("model",), value)
    else:
        _set(inside, ("options", f"{name}.{below}" if below else name), value)


def _inside(config: Config, part: str) -> Config:
    """Return the current value of a part as an object."""
    found = config.get(part)
    if isinstance(found, str):
        return {"plugin": found}
    return dict(found) if isinstance(found, Mapping) else {}


def _set(inside: Config, path: tuple[str, ...], value: Any) -> None:
    *above, last = path
    for name in above:
        inside[name] = dict(inside.get(name) or {})
        inside = inside[name]
    if value is None:
        inside.pop(last, None)
    else:
        inside[last] = value


def _choices(before: Any, value: Any) -> Any:
    """Return extractors as a list of objects; a bare name becomes an extractor with default options."""
    if value is None:
        return []
    listed = value if isinstance(value, list) else [value]
    return [{"plugin": one} if isinstance(one, str) else one for one in listed]


def _chosen(before: Any, below: str, value: Any) -> list[Config]:
    """Return the extractors with one of them changed, added or (value ``None``) removed."""
    plugin, _, option = below.partition(".")
    found = [dict(one) for one in before or []]
    mine = next((one for one in found if one.get("plugin") == plugin), None)
    if not option and value is None:
        return [one for one in found if one is not mine]
    if mine is None:
        found.append(mine := {"plugin": plugin})
    if option in ("types", "options"):
        _set(mine, (option,), value)
    elif option:
        _set(mine, ("options", option.removeprefix("options.")), value)
    elif isinstance(value, Mapping):
        mine |= value
    return found


def check(config: Mapping[str, Any]) -> None:
    """Raise UsageError, which names the place, for an unknown part or field, or a value of the wrong type."""
    for part, value in config.items():
        if part not in PARTS:
            raise _unknown(part)
        if part == "default_reranker" and (value is None or isinstance(value, str)):
            continue
        _object(part, value)
        for name in value:
            if name not in PARTS[part]:
                raise _unknown(f"{part}.{name}")
        if "options" in value:
            _object(f"{part}.options", value["options"])
    for plugin, options in (config.get("parsers") or {}).get("options", {}).items():
        _object(f"parsers.options.{plugin}", options)
    _object("parsers.by_media_type", (config.get("parsers") or {}).get("by_media_type", {}))
    _check_extraction(config.get("extraction") or {})
    _check_sparse(config.get("sparse") or {})
    _check_search(config.get("search") or {})


def _check_extraction(extraction: Mapping[str, Any]) -> None:
    if not isinstance(extraction.get("enabled", True), bool):
        raise UsageError("extraction.enabled is not true or false.", "Write extraction.enabled=false.")
    for name in ("chunk", "document"):
        choices = extraction.get(name, [])
        if not isinstance(choices, list):
            raise UsageError(
                f"extraction.{name} is not a list of extractors.", f'Write extraction.{name}=["keywords"].'
            )
        for choice in choices:
            _object(f"extraction.{name}", choice)
            unknown = sorted(set(choice) - set(CHOICE))
            if unknown or not isinstance(choice.get("plugin"), str):
                what = f"has no {unknown[0]!r}" if unknown else "names its plugin"
                raise UsageError(f"An extractor in extraction.{name} {what}.", f"Its fields are {', '.join(CHOICE)}.")


def _check_sparse(sparse: Mapping[str, Any]) -> None:
    for name in ("k1", "b", "avg_len"):
        if name in sparse and not (_is_number(sparse[name]) and sparse[name] >= 0):
            told = f"sparse.{name} is {sparse[name]!r}; give a number, 0 or more."
            raise UsageError(told, "docs/collections.md has the defaults.")
    for name in ("title_weight", "heading_weight"):
        value = sparse.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_WEIGHT:
            told = f"sparse.{name} is {value!r}; give a whole number from 0 to {MOST_WEIGHT}."
            raise UsageError(told, "0 excludes it from BM25.")
    for name in ("by_document", "fold_accents"):
        if not isinstance(sparse.get(name, True), bool):
            raise UsageError(f"sparse.{name} is not true or false.", f"Write sparse.{name}=false.")
    for name in ("model", "plugin"):
        if not isinstance(sparse.get(name) or "", str):
            raise UsageError(
                f"sparse.{name} is {sparse[name]!r}; give a name.", "null means BM25, which needs no model."
            )
    if not isinstance(sparse.get("language", ""), str):
        raise UsageError(
            f"sparse.language is {sparse['language']!r}; give a language.", "Write sparse.language=german."
        )


def _check_search(search: Mapping[str, Any]) -> None:
    for name in ("dense_weight", "rerank_weight"):
        value = search.get(name)
        if value is not None and not (_is_number(value) and 0 <= value <= 1):
            told = f"search.{name} is {value!r}; give a number from 0 to 1."
            raise UsageError(told, f"Write search.{name}=0.5, or null for the value in the settings.")
    known = get_args(Fusion)
    if search.get("fusion") is not None and search["fusion"] not in known:
        raise UsageError(f"There is no fusion {search['fusion']!r}.", f"Choose one of {', '.join(known)}.")
    for name, longest in LONGEST_CHAIN.items():
        chain = search.get(name)
        if chain is not None and not (isinstance(chain, list) and len(chain) <= longest):
            told = f"search.{name} is not a list of at most {longest} plugins."
            raise UsageError(told, f'Write search.{name}=["ID"], in their order.')
        for choice in map(chosen_plugin, chain or ()):
            if not isinstance(choice.get("plugin"), str) or set(choice) - {"plugin", "options"}:
                raise UsageError(
                    f"search.{name} has {choice!r}.", 'An entry is "ID", or {"plugin": "ID", "options": {}}.'
                )
            _object(f"the options of {choice['plugin']} in search.{name}", choice.get("options") or {})
    named = [chosen_plugin(one)["plugin"] for one in search.get("rerankers") or ()]
    if twice := [plugin for place, plugin in enumerate(named) if plugin in named[:place]]:  # scores are kept by plugin
        raise UsageError(f"search.rerankers names {twice[0]!r} twice.", "Name each reranker once.")


def chosen_plugin(entry: Any) -> Config:
    """Return a plugin's entry as an object. A bare name gets default options; the result is not validated."""
    return dict(entry) if isinstance(entry, Mapping) else {"plugin": entry}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _object(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise UsageError(
            f"{name} is {value!r}, which is not an object.", 'Write it like chunking={"plugin": "markdown"}.'
        )


def _unknown(key: str) -> UsageError:
    part, _, _ = key.partition(".")
    there = [f"{part}.{name}" for name in PARTS[part]] if part in PARTS else sorted(PARTS)
    return UsageError(f"A collection has no setting {key!r}.", f"Choose one of {', '.join(there)}.")


def validate(host: PluginHost, config: Mapping[str, Any]) -> None:
    """Check a complete configuration against the plugins it names.

    Each plugin must be loaded, be of the right kind, and accept its options. Raises PluginNotFoundError or
    PluginConfigError.
    """
    chosen = [("chunking", config["chunking"]), ("embedding", config["embedding"])]
    extraction, parsers = config["extraction"], config["parsers"]
    if extraction["enabled"]:
        chosen += [("extractor", choice) for choice in (*extraction["chunk"], *extraction["document"])]
    chosen += [("parser", {"plugin": name}) for name in parsers["by_media_type"].values()]
    chosen += [("parser", {"plugin": name, "options": options}) for name, options in parsers["options"].items()]
    encoder = sparse_encoder(config["sparse"])
    if encoder is not None:
        chosen.append(("embedding", encoder))
    reranker = config.get("default_reranker")
    if reranker:
        chosen.append(("reranker", {"plugin": reranker} if isinstance(reranker, str) else reranker))
    search = config.get("search") or {}
    chosen += [("reranker", chosen_plugin(one)) for one in search.get("rerankers") or ()]
    chosen += [("postprocessor", chosen_plugin(one)) for one in search.get("postprocessors") or ()]
    for kind, choice in chosen:
        if choice.get("plugin") is not None:
            host.effective_config(choice["plugin"], choice.get("options"), kind=kind)


def sparse_encoder(sparse: Mapping[str, Any]) -> Config | None:
    """Return the plugin and options that make the collection's sparse vectors; None if the collection uses BM25."""
    model = sparse.get("model")
    plugin = sparse.get("plugin") or (SPARSE_ENCODER if model else None)
    return None if plugin is None else {"plugin": plugin, "options": {"model": model} if model else {}}


def check_name(name: str) -> None:
    """Raise UsageError for an invalid collection name. Names appear in URLs, in file names and on terminals."""
    if not name or name != name.strip() or "/" in name or not name.isprintable() or len(name) > LONGEST_NAME:
        raise UsageError(
            f"{name!r} can't be the name of a collection.",
            f"A name has 1 to {LONGEST_NAME} visible characters, no slash, and no space at its start or end.",
        )


def etag(config: Mapping[str, Any]) -> str:
    """Return 32 hex digits that identify the configuration's content."""
    text = json.dumps(config, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
