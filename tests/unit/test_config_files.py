"""The files of config/: every setting is listed with its default and a sentence, and the examples are valid."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from semantik_pipeline.plugins import state
from semantik_pipeline.settings import Settings, load_settings

CONFIG = Path(__file__).parents[2] / "config"
SETTING = re.compile(r"# ([a-z_]+) = (.+)")
LINES = (CONFIG / "semantik.toml").read_text("utf-8").splitlines()


def uncommented() -> str:
    """The file with every setting in force."""
    return "\n".join(SETTING.sub(r"\1 = \2", line) if SETTING.fullmatch(line) else line for line in LINES)


def listed() -> dict[str, Any]:
    return tomllib.loads(uncommented())


def sections() -> dict[str, type[BaseModel]]:
    fields = {name: field.annotation for name, field in Settings.model_fields.items()}
    return {name: kind for name, kind in fields.items() if isinstance(kind, type) and issubclass(kind, BaseModel)}


@pytest.mark.parametrize("section", sections())
def test_every_setting_is_listed_with_its_default(section: str) -> None:
    kind = sections()[section]
    shown = listed().get(section, {})
    assert set(shown) == set(kind.model_fields)
    for name, field in kind.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if default is not None and default is not PydanticUndefined:
            assert shown[name] == default, f"{section}.{name}"


def test_no_section_is_missing_or_unknown() -> None:
    assert set(listed()) == set(Settings.model_fields)


def test_every_setting_has_a_sentence() -> None:
    for before, line in zip(["", *LINES], LINES, strict=False):
        if SETTING.fullmatch(line):
            sentence = before.startswith("# ") and not SETTING.fullmatch(before)
            assert sentence and before.endswith("."), line


def test_as_it_stands_it_changes_nothing(tmp_path: Path) -> None:
    as_it_stands = load_settings(CONFIG / "semantik.toml", data_dir=tmp_path)
    assert as_it_stands.model_dump() == load_settings(data_dir=tmp_path).model_dump()


def test_uncommented_it_is_valid(tmp_path: Path) -> None:
    everything = tmp_path / "semantik.toml"
    everything.write_text(uncommented(), "utf-8")
    assert load_settings(everything).qdrant.api_key_env == "QDRANT_API_KEY"


def test_the_example_of_the_state_file_is_valid() -> None:
    found = state.read_state(CONFIG / "plugins.example.json")
    assert found.is_disabled("spacy-ner")
    assert found.config_of("openai-compatible")["api_key_env"] == "EMBEDDINGS_API_KEY"
    assert found.config_of("dense-local") == {"device": "cpu"}
