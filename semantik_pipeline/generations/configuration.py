"""A collection's configuration, and the generation that freezes it.

A configuration names a plugin and its options for each step. :data:`DEFAULT` applies where a collection sets nothing.
Freezing resolves every option that shapes output and computes each stage's fingerprint, so that results of different
configurations never mix.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from semantik_pipeline import configurations
from semantik_pipeline.contracts.filters import is_key
from semantik_pipeline.contracts.languages import language_name
from semantik_pipeline.documents import IndexSpec
from semantik_pipeline.errors import FingerprintMismatch, PipelineError, SettingsError
from semantik_pipeline.ledger.catalog.collections import Generation
from semantik_pipeline.ledger.generations.builds import Frozen
from semantik_pipeline.plugins.host import PluginHost
from semantik_pipeline.plugins.secrets import scrub

DEFAULT: dict[str, Any] = {
    "parsers": {"by_media_type": {}, "options": {}},
    "chunking": {"plugin": "recursive", "options": {}},
    "extraction": {
        "enabled": True,
        "chunk": [{"plugin": "patterns", "types": None, "options": {}}],
        "document": [{"plugin": "language", "types": None, "options": {}}],
    },
    "embedding": {"plugin": "dense-local", "options": {}},
    "sparse": {
        "k1": 1.2,
        "b": 0.75,
        "avg_len": 80,
        "language": "english",
        "by_document": True,
        "fold_accents": True,
        "title_weight": 1,
        "heading_weight": 1,
    },
    "search": {},
    "default_reranker": None,
}

#: Keys of ``sparse`` that are no options of a store's BM25: they shape the text that the store gets, or replace BM25.
NOT_BM25 = ("title_weight", "heading_weight", "model", "plugin", "options")

_FIELDS = "docs/search.md lists the fields, such as metadata.team."

#: Payload fields that filters use most, and their types. The store indexes these fields.
PAYLOAD_INDEXES = {
    "document_id": "integer",
    "document": "keyword",
    "source": "keyword",
    "source_type": "keyword",
    "media_type": "keyword",
    "path": "keyword",
    "size": "integer",
    "created": "datetime",
    "modified": "datetime",
    "indexed": "datetime",
    "language": "keyword",
    "entity_types": "keyword",
    "entities.PERSON": "keyword",
    "entities.ORG": "keyword",
    "entities.GPE": "keyword",
    "entities.EMAIL": "keyword",
    "keywords": "keyword",
    "principals": "keyword",
}


def complete(host: PluginHost, given: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration with its defaults. A bare ``{"embedding": {"model": NAME}}`` finds its plugin.

    Raises UsageError for an unknown part, and PluginNotFoundError or PluginConfigError for what plugins refuse.
    """
    config = _with_defaults(given)
    embedding = config["embedding"]
    if embedding["plugin"] is None:
        embedding["plugin"] = host.supports_model(embedding["options"]["model"])
    language_name(config["sparse"]["language"])
    configurations.validate(host, config)
    return config


def _with_defaults(given: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration with its defaults, without asking plugins. The plugin of a bare model is None."""
    configurations.check(given)
    config: dict[str, Any] = {
        name: {**value, **given.get(name, {})} if isinstance(value, dict) else given.get(name)
        for name, value in DEFAULT.items()
    }
    embedding = dict(config["embedding"])
    model = embedding.pop("model", None)
    if model is not None:
        embedding["options"] = {**embedding.get("options", {}), "model": model}
        if "plugin" not in given.get("embedding", {}):
            embedding["plugin"] = None
    config["embedding"] = embedding
    return config


def freeze(host: PluginHost, config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return ``(frozen configuration, fingerprints)`` of a complete configuration. Loads no model."""

    def frozen(choice: dict[str, Any]) -> dict[str, Any]:
        return {**choice, "options": host.frozen_config(choice["plugin"], choice.get("options"))}

    extraction = config["extraction"]
    parsers = config["parsers"]
    names = sorted(plugin.id for plugin in host.registry.of_kind("parser"))
    result = {
        **config,
        "parsers": {
            **parsers,
            "options": {name: host.frozen_config(name, parsers["options"].get(name)) for name in names},
        },
        "chunking": frozen(config["chunking"]),
        "embedding": frozen(config["embedding"]),
        "sparse": _frozen_sparse(host, config["sparse"]),
        "extraction": {
            **extraction,
            "chunk": [frozen(choice) for choice in extraction["chunk"]] if extraction["enabled"] else [],
            "document": [frozen(choice) for choice in extraction["document"]] if extraction["enabled"] else [],
        },
    }
    return result, fingerprints(host, result)


def encoders_of(frozen: dict[str, Any]) -> list[dict[str, Any]]:
    """Return ``{"plugin", "options"}`` of a generation's dense model, and of its sparse model if it has one."""
    return [one for one in (frozen["embedding"], frozen["sparse"]) if one.get("plugin")]


def wanted_encoders(given: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the encoders of a configuration as users write it: plugins and options as in :func:`encoders_of`.

    Asks no plugin, so no plugin needs to be loaded. The plugin of a bare model is None.
    """
    config = _with_defaults(given)
    sparse = configurations.sparse_encoder(config["sparse"])
    return [config["embedding"], *([sparse] if sparse else [])]


def _frozen_sparse(host: PluginHost, sparse: dict[str, Any]) -> dict[str, Any]:
    encoder = configurations.sparse_encoder(sparse)
    if encoder is None:
        return sparse
    return {**sparse, "plugin": encoder["plugin"], "options": host.frozen_config(encoder["plugin"], encoder["options"])}


def fingerprints(host: PluginHost, frozen: dict[str, Any]) -> dict[str, Any]:
    """Return the fingerprints by stage. ``parse`` and ``extract`` have one fingerprint per plugin.

    If a model makes the sparse vectors, ``sparse`` is that model's fingerprint, which is also part of ``embed``.
    """
    embedding, chunking, parsers = frozen["embedding"], frozen["chunking"], frozen["parsers"]
    embedder = host.light(embedding["plugin"], embedding["options"], frozen=True)
    extractors = {
        choice["plugin"]: choice for choice in (*frozen["extraction"]["chunk"], *frozen["extraction"]["document"])
    }
    window = str(embedder.max_input_tokens())
    sparse = _sparse_fingerprint(host, frozen)
    return {
        "parse": {name: host.fingerprint(name, options, frozen=True) for name, options in parsers["options"].items()},
        "chunk": host.fingerprint(
            chunking["plugin"], chunking["options"], embedder.tokenizer_revision(), window, frozen=True
        ),
        "extract": {
            name: host.fingerprint(name, choice["options"], json.dumps(choice.get("types")), frozen=True)
            for name, choice in extractors.items()
        },
        "embed": _embed_fingerprint(host, frozen, sparse),
        **({"sparse": sparse} if sparse else {}),
    }


def _embed_fingerprint(host: PluginHost, frozen: dict[str, Any], sparse: str | None) -> str:
    """Return the fingerprint of the dense vectors and of the sparse vectors that are stored with them."""
    embedding, beside = frozen["embedding"], [sparse] if sparse else []
    return host.fingerprint(embedding["plugin"], embedding["options"], *beside, frozen=True)


def _sparse_fingerprint(host: PluginHost, frozen: dict[str, Any]) -> str | None:
    """Return the fingerprint of a sparse model's vectors; None if BM25 makes them."""
    sparse = frozen["sparse"]
    return host.fingerprint(sparse["plugin"], sparse["options"], frozen=True) if sparse.get("plugin") else None


def frozen_from(host: PluginHost, wanted: dict[str, Any]) -> Frozen:
    """Return everything that makes up a generation, from a complete configuration.

    Loads a model only if its dimension cannot be known otherwise.
    """
    config, prints = freeze(host, wanted)
    choice = config["embedding"]
    embedder = host.light(choice["plugin"], choice["options"], frozen=True)
    return Frozen(
        wanted=wanted,
        config=config,
        fingerprints=prints,
        plugins=plugin_versions(host, config),
        dimension=host.call(embedder.get_dimension),
    )


def plugins_of(frozen: dict[str, Any]) -> list[str]:
    """Return the plugins that make a generation's content, in the order of the stages."""
    extraction = frozen["extraction"]
    extractors = [choice["plugin"] for choice in (*extraction["chunk"], *extraction["document"])]
    encoders = [one["plugin"] for one in encoders_of(frozen)]
    named = [*frozen["parsers"]["options"], frozen["chunking"]["plugin"], *extractors, *encoders]
    return list(dict.fromkeys(named))


def plugin_versions(host: PluginHost, frozen: dict[str, Any]) -> dict[str, str]:
    """Return the versions of a generation's plugins in this process. Plugins that are not loaded are left out."""
    known = {plugin.id: plugin.cls.PLUGIN_VERSION for plugin in host.registry}
    return {plugin: known[plugin] for plugin in plugins_of(frozen) if plugin in known}


def check(host: PluginHost, generation: Generation, stage: str) -> None:
    """Raise FingerprintMismatch, with the reason, if this process cannot produce the generation's output at a stage."""
    wanted = {"chunk": ("parse", "chunk"), "extract": ("extract",), "embed": ("embed",)}.get(stage, ())
    if not wanted:
        return
    try:
        here = fingerprints(host, generation.config)
    except Exception as error:  # plugins may raise anything; other generations must not suffer from it
        told = str(error) if isinstance(error, PipelineError) else f"{type(error).__name__}: {error}"
        raise FingerprintMismatch(f"{stage} of {generation.collection!r} can't be done here: {told}") from error
    for part in wanted:
        if here[part] != generation.fingerprints[part]:
            raise FingerprintMismatch(
                f"{stage} of {generation.collection!r} would differ from what its generation was built with"
                f" ({_difference(generation.fingerprints[part], here[part])}).",
                "Install what it was built with, or reindex the collection.",
            )


#: The legs of a search, and the name in messages of what makes a query's vector for each leg.
_LEGS = {"dense": "embedding", "sparse": "sparse model"}


def check_encoders(host: PluginHost, generation: Generation) -> None:
    """Call :func:`check_encoder` for each leg that uses a model."""
    check_encoder(host, generation, "dense")
    if generation.config["sparse"].get("plugin"):
        check_encoder(host, generation, "sparse")


def check_encoder(host: PluginHost, generation: Generation, leg: str) -> None:
    """Raise FingerprintMismatch if a query's vector here would not match the generation's chunks.

    ``leg`` is ``dense``, or ``sparse`` if a model makes the sparse vectors. Also raises the plugin's error if the
    plugin cannot be created. Checks nothing of the other stages. Checks the other encoder only for an old generation
    whose encoders have one common fingerprint.
    """
    frozen, built = generation.config, generation.fingerprints
    learned, alone = bool(frozen["sparse"].get("plugin")), built.get("sparse")
    together = learned and alone is None
    if leg == "sparse" and not together:
        before, here = alone, _sparse_fingerprint(host, frozen)
    else:
        before = built["embed"]
        here = _embed_fingerprint(host, frozen, _sparse_fingerprint(host, frozen) if together else alone)
    if here != before:
        raise FingerprintMismatch(
            f"The {_LEGS[leg]} of {generation.collection!r} would give other vectors here than those that its index has"
            f" ({_difference(before, here)}).",
            "Install what it was built with, or reindex the collection"
            f"{'' if learned else '; until then it is searched by words (mode sparse)'}.",
        )


def refusal(host: PluginHost, generation: Generation, stage: str) -> str | None:
    """Return why this process cannot do a stage of the generation, or None if it can."""
    try:
        check(host, generation, stage)
    except FingerprintMismatch as error:
        return scrub(str(error))
    return None


def _difference(built: Any, here: Any) -> str:
    if isinstance(built, dict):
        changed = sorted(name for name in {*built, *here} if built.get(name) != here.get(name))
        return f"plugin {', '.join(changed)}"
    return f"fingerprint {built[:8]}, here {here[:8]}"


def index_spec(generation: Generation, more: Mapping[str, str] = MappingProxyType({})) -> IndexSpec:
    """Return what the generation's index must support. ``more`` are further payload indexes from the settings.

    Raises SettingsError for a key that is no field of points.
    """
    if wrong := [key for key in more if not is_key(key)]:
        raise SettingsError(f"store.payload_indexes has {wrong[0]!r}, which is not a field of points.", _FIELDS)
    sparse = generation.config["sparse"]
    bm25 = {name: value for name, value in sparse.items() if name not in NOT_BM25}
    learned = bool(sparse.get("plugin"))
    return IndexSpec(
        dimension=generation.dimension,
        bm25=None if learned else bm25,
        payload_indexes={**more, **PAYLOAD_INDEXES},
        sparse_vectors=learned,
    )
