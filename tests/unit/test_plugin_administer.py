"""What `semantik plugins` does with every built-in, and who has an id whose built-in does not load."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from types import SimpleNamespace

import pytest

from semantik_pipeline.contracts import ParserPlugin
from semantik_pipeline.errors import PluginConfigError, PluginNotFoundError
from semantik_pipeline.plugins import administer
from semantik_pipeline.plugins.administer import PluginInfo
from semantik_pipeline.plugins.configuration import is_operational, validate_part
from semantik_pipeline.plugins.loader import load_plugins
from semantik_pipeline.plugins.state import PluginState

BUILTINS = [info for info in administer.list_plugins("no-such-state-file.json") if info.builtin]


def test_every_built_in_is_listed_without_a_complaint():
    assert len(BUILTINS) > 20
    assert {info.id: info.reason for info in BUILTINS if info.status != "loaded" or info.reason} == {}


def value_for(about: dict) -> object:
    """A value that the schema's property takes."""
    if "enum" in about:
        return about["enum"][0]
    kind = about.get("type", "string")
    kind = kind if isinstance(kind, str) else kind[0]
    low = about.get("minimum", about.get("exclusiveMinimum", 0)) + 1
    return {"integer": low, "number": low, "boolean": True, "array": [], "object": {}}.get(kind, "text")


def options_of(about: PluginInfo) -> dict[str, dict]:
    """Each operational option of a plugin, as one would give it alone."""
    found = {}
    for name, property_ in ((about.schema or {}).get("properties") or {}).items():
        if is_operational(name, about.schema):
            secret = property_.get("secret") or property_.get("format") == "password"
            found[name] = {f"{name}_env": "A_VARIABLE"} if secret else {name: value_for(property_)}
    return found


def test_every_built_in_takes_each_operational_option_alone():
    registry, _ = load_plugins(PluginState())
    tried = [(info.id, option) for info in BUILTINS for option in options_of(info).values()]
    assert len({plugin_id for plugin_id, _ in tried}) > 10
    for plugin_id, option in tried:
        validate_part(registry.get(plugin_id), option)


@pytest.mark.parametrize("plugin_id", ["web", "jsonl", "imap", "dense-local"])
def test_a_fresh_state_file_takes_an_operational_option(plugin_id, tmp_path):
    info = next(info for info in BUILTINS if info.id == plugin_id)
    option = next(iter(options_of(info).values()), {})
    configured = administer.configure(tmp_path / "plugins.json", plugin_id, option)
    assert (configured.config, configured.reason) == (option, None)


def test_a_part_of_a_configuration_is_still_checked(tmp_path):
    with pytest.raises(PluginConfigError, match="timeout"):
        administer.configure(tmp_path / "plugins.json", "web", {"timeout": -1})


def test_a_plugin_whose_source_has_to_say_more_is_not_called_unhealthy(tmp_path):
    state = tmp_path / "plugins.json"
    administer.configure(state, "web", {"timeout": 5})
    web = administer.show_plugin(state, "web", health=True)
    assert (web.health, "source" in web.reason) == ("unknown", True)


class Usurper(ParserPlugin):
    PLUGIN_ID = "pdf"

    def parse(self, content, **options): ...


def entry(distribution: str, value: str) -> EntryPoint:
    found = EntryPoint("pdf", value, "semantik.plugins")
    vars(found)["dist"] = SimpleNamespace(name=distribution, version="1")
    return found


@pytest.mark.parametrize("name", ["pdf", "parser-pdf"])
def test_a_built_in_that_does_not_load_gives_its_id_to_nobody(name):
    broken = entry("semantik-pipeline", "no_such_module:Pdf")
    stranger = entry("acme", f"{__name__}:Usurper")
    vars(stranger)["name"] = name
    registry, report = load_plugins(PluginState(), entry_points=[stranger, broken])
    assert "pdf" not in registry
    assert [(outcome.origin, outcome.id) for outcome in report.conflicts] == [("acme 1", "pdf")]
    with pytest.raises(PluginNotFoundError, match="no_such_module"):
        registry.get("pdf")
    alone, _ = load_plugins(PluginState(), entry_points=[stranger])
    assert alone.get("pdf").cls.PLUGIN_ID == "pdf"
