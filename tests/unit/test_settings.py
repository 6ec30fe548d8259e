"""What the environment says is a setting, or is refused without its value."""

from __future__ import annotations

from pathlib import Path

import pytest

from semantik_pipeline.errors import SettingsError
from semantik_pipeline.settings import load_settings


@pytest.mark.parametrize("name", ["SEMANTIK_API_KEY", "semantik_api_key"])
def test_the_key_for_a_server_is_no_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setenv("SEMANTIK_API_PORT", "1234")
    monkeypatch.setenv(name, "sk_secret")
    assert load_settings(data_dir=tmp_path).api.port == 1234


def test_what_is_no_setting_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEMANTIK_QDRANT_API_KEY", "sk_secret")
    with pytest.raises(SettingsError, match=r"'qdrant\.api_key'") as caught:
        load_settings(data_dir=tmp_path)
    assert "secret" not in str(caught.value)


def test_a_value_that_a_setting_can_not_have_is_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEMANTIK_API_PORT", "many")
    with pytest.raises(SettingsError, match="'many'"):
        load_settings(data_dir=tmp_path)
